"""Each command as a function: files and settings in, files and a report out. Public, like `findna` itself."""
