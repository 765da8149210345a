"""The terminal under the app. Everything that uses Textual's private names is here."""
