"""Built-in tasks: a TOML file each, and the trained heads that the package ships."""
