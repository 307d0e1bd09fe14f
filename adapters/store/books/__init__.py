"""The books, one file each, in the SQL that both engines speak."""
