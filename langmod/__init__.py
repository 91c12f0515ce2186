"""What training, export and service share; imports none of them and no model library at its top."""
