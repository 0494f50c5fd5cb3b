import ArgumentParser

EncoderCommand.main()
