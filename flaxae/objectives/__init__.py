"""What is minimised and what is measured: functions of one batch."""
