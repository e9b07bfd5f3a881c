"""moto's EC2, with a window through which the lab's landlord sees the machines of all accounts: ec2.py.

It listens on 127.0.0.1 and prints its port.

  GET /_machines  [{"id", "name", "private", "public", "power", "user_data"}]; power is on, off, gone or between
"""

import ctypes
import json
import logging
import signal

import boto3
import moto.utilities.utils

# moto reads what AWS has in all its regions, which takes seconds; the tests stand in the first of these.
REGIONS = ["eu-west-1", "us-east-1"]
load_resource = moto.utilities.utils.load_resource


def available_regions(_, _service, partition_name="aws", **_more):
    return REGIONS if partition_name == "aws" else []


def resource(path):
    elsewhere = "instance_type_offerings" in path and not any(f"/{region}." in path for region in REGIONS)
    return [] if elsewhere else load_resource(path)


boto3.Session.get_available_regions = available_regions
moto.utilities.utils.load_resource = resource

from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

POWER = {"running": "on", "stopped": "off", "terminated": "gone"}


def machines():
    for _, _, backend in list(ec2_backends.iter_backends()):
        for reservation in list(backend.reservations.values()):
            for instance in list(reservation.instances):
                power = POWER.get(instance._state.name, "between")
                if power == "gone":
                    yield {"id": instance.id, "power": power}
                    continue
                tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
                user_data = instance.user_data.decode() if instance.user_data else ""
                yield {"id": instance.id, "power": power, "name": tags.get("weave-host", ""),
                       "private": instance.private_ip, "public": instance.public_ip, "user_data": user_data}


def main():
    # PR_SET_PDEATHSIG is 1: ends with the thread that started it, be that killed.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = DomainDispatcherApplication(create_backend_app)

    def serve(environ, start_response):
        if environ["PATH_INFO"] != "/_machines":
            return moto(environ, start_response)
        body = json.dumps(list(machines())).encode()
        start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
        return [body]

    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=MotoRequestHandler)
    print(server.server_port, flush=True)
    server.serve_forever()


main()
