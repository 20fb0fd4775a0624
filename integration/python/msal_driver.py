"""Lets a Go test drive MSAL Python. Each line of standard input is a command, a JSON object. Each line of standard
output is its response, in the same order.

  {"new": NAME, "auth": {...}}                     creates a ConfidentialClientApplication
  {"on": NAME, "call": METHOD, "with": {...}}      calls its method with named arguments

MSAL returns its errors as results. The response to a command that raises an exception is {"error": {...}}.
"""
import json
import sys

import msal

apps = {}
for line in sys.stdin:
    command = json.loads(line)
    try:
        if "new" in command:
            apps[command["new"]] = msal.ConfidentialClientApplication(**command["auth"])
            result = msal.__version__
        else:
            result = getattr(apps[command["on"]], command["call"])(**command["with"])
        response = {"result": result}
    except Exception as error:
        response = {"error": {"name": type(error).__name__, "message": str(error)}}
    print(json.dumps(response), flush=True)
