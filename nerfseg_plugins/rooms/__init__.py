"""Procedural furnished rooms with exact labels."""
