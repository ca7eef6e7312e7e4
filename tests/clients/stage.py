"""What every client's script is told, and how it says what it saw.

VMINT_ENDPOINT      the gateway's URL
VMINT_REGION        the region's name
VMINT_MAKER,        the key id, secret and account of who owns the image,
VMINT_FRIEND,       of whom it is shared with,
VMINT_STRANGER      and of nobody in particular; each `ID SECRET ACCOUNT`
VMINT_SNAPSHOT      a snapshot of the maker's that boots
"""

import contextlib
import os
import sys
import time

ENDPOINT = os.environ["VMINT_ENDPOINT"]
REGION = os.environ["VMINT_REGION"]
SNAPSHOT = os.environ["VMINT_SNAPSHOT"]
# What a guest prints once its first-boot agent is done.
READY = "vmint-guest: ready"
# A name that no earlier run has taken.
RUN = f"{int(time.time())}"


class Who:
    def __init__(self, name):
        self.key, self.secret, self.account = os.environ[name].split()

    def environment(self):
        return {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": ENDPOINT,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }


MAKER, FRIEND, STRANGER = Who("VMINT_MAKER"), Who("VMINT_FRIEND"), Who("VMINT_STRANGER")


@contextlib.contextmanager
def step(what):
    start = time.monotonic()
    try:
        yield
    except BaseException as error:
        print(f"FAILED  {what}: {error}", flush=True)
        raise
    print(f"ok      {what}  ({time.monotonic() - start:.1f} s)", flush=True)


def until(what, seconds, ask):
    """Asks again until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(1)
    sys.exit(f"waited {seconds} s in vain: {what}")
