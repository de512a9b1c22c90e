"""Compiled passes over Arrow buffers of text: what the filters measure, find and cut."""
