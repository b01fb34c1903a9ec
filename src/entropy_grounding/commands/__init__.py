"""The commands of `eg`, one thin file each."""
