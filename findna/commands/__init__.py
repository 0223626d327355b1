"""What each command does, as functions: files and settings in, files and a report out. Public, like `findna` itself."""
