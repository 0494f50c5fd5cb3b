import ArgumentParser

RerankCommandLine.main()
