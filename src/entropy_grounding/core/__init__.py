"""What every other room stands on: errors, boxes, pictures, records, configuration, environment."""
