"""Node images and the configuration of the MQTT broker."""
