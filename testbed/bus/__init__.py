"""MQTT: messages, client, embedded broker, mosquitto."""
