"""A till speaks: from complete files to booked sales."""
