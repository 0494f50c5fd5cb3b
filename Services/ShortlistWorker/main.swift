import ArgumentParser

ShortlistCommand.main()
