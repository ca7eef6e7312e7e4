"""Signs random requests as the AWS SDK for Python does; one JSON object a line.

Usage: sign.py COUNT SEED
"""

import base64
import datetime
import json
import random
import sys

try:
    from botocore import auth, awsrequest, credentials
except ImportError:
    from awscli.botocore import auth, awsrequest, credentials
from urllib.parse import quote, urlsplit

WORDS = ["a", "Name", "x y", "é", "~t", "a+b", "%41", "/", "a=b&c", "", "*", "(1)", "\u4f60"]


def text(rng):
    return "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 4)))


def pairs(rng):
    return [(f"P{n}.{text(rng)}", text(rng)) for n in range(rng.randint(0, 5))]


def encoded(items):
    return "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in items)


def one(rng):
    service = rng.choice(["ec2", "ebs", "sts", "ssm", "s3"])
    region = rng.choice(["us-east-1", "eu-central-1", "here"])
    method = rng.choice(["GET", "POST", "PUT", "DELETE"])
    segments = [quote(text(rng), safe="-_.~") for _ in range(rng.randint(0, 3))]
    path = "/" + "/".join(segments)
    query = encoded(pairs(rng))
    presign = rng.random() < 0.3
    body = b""
    # Presigning moves a body into the query.
    if method != "GET" and not presign:
        body = rng.choice([b"", encoded(pairs(rng)).encode(), rng.randbytes(rng.randint(0, 64))])
    url = f"http://host-{rng.randint(1, 9)}.example:8773{path}" + (f"?{query}" if query else "")
    headers = {}
    if rng.random() < 0.5:
        headers["Content-Type"] = rng.choice(["application/x-amz-json-1.1", "text/plain;  a=b"])
    if rng.random() < 0.4:
        headers["X-Amz-Meta"] = "  " + text(rng).encode("ascii", "ignore").decode() + "  two   x "
    if rng.random() < 0.3:
        headers["X-Amz-Target"] = "AmazonSSM.GetParameter"
    request = awsrequest.AWSRequest(method=method, url=url, data=body, headers=headers)
    secret = base64.b64encode(rng.randbytes(30)).decode()
    token = base64.b64encode(rng.randbytes(40)).decode() if rng.random() < 0.3 else None
    keys = credentials.Credentials("AKIA" + "%016d" % rng.randint(0, 10**15), secret, token)
    if service == "s3":
        kind = auth.S3SigV4QueryAuth if presign else auth.S3SigV4Auth
    else:
        kind = auth.SigV4QueryAuth if presign else auth.SigV4Auth
    extra = {"expires": rng.randint(1, 3600)} if presign else {}
    signer = kind(keys, service, region, **extra)
    signer.add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    sent = [(k.lower(), v if isinstance(v, str) else v.decode()) for k, v in prepared.headers.items()]
    if not any(k == "host" for k, _ in sent):
        sent.append(("host", parts.netloc))
    return {
        "method": method,
        "path": parts.path or "/",
        "query": parts.query,
        "headers": [kv for kv in sent if kv[0] != "content-length"],
        "body": base64.b64encode(body).decode(),
        "secret": secret,
        "token": token,
        "service": service,
        "presigned": presign,
    }


def main():
    rng = random.Random(int(sys.argv[2]))
    for _ in range(int(sys.argv[1])):
        print(json.dumps(one(rng)))


main()
