"""Where jobs run: connecting to Ray. No machine learning here."""
