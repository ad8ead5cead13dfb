"""Hostile input in every place that shows text: one table of payloads, one file of tests a place."""
