"""Model versions: their artifacts, which of them is champion, and how one is promoted or exported."""
