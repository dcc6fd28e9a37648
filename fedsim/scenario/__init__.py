"""The scenario: a frozen, validated description of one world and of the methods compared in it."""
