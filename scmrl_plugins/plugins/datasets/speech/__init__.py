"""The digits of av-digits, spoken by eSpeak NG."""
