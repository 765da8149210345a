"""Commands: parse, call the engine, print. Nothing heavy is imported to parse."""
