"""Chest CT and other volumes: what files hold, in one orientation, and masks on their own grid."""
