"""An emulator of the part of Compute Engine's REST API that the adapter uses: compute.py DISCOVERY_DOCUMENT.

It listens on 127.0.0.1 and prints its port. Paths, parameters and bodies have to be as Google's discovery document
says, both those that come in and those that go out. Operations take a moment. Every project begins with the network
`default`, except the project `bare`. Public addresses are in 127/8, so that a test can listen there.

  POST /_fault  {"method": "instances.insert", "skip": 0, "times": 1, "kind": …}
                kind is one of {"status", "reason"}, {"status", "raw"}, {"hang": seconds}, {"lose": true}, {"die": true},
                {"fail": {"code", "message", "status"}}, {"slow": seconds} or {"finished": true}; the last three are
                about the operation. What dies loses the answer, and from then on nobody answers anything.
                {"every": 2, "kind": …} hits all calls but each second one; {"lag": 3} lets a list that was asked
                before come three times more as it was after each change; {} ends it all
  POST /_status {"project", "path", "status"}: as the owner of an instance would at the console
  GET /_calls   what was asked so far
"""

import collections
import ctypes
import http.server
import ipaddress
import json
import re
import signal
import sys
import threading
import time
import urllib.parse
import uuid

DELAY = 0.05
ZONES = {"europe-west1": "bcd", "us-central1": "a"}  # the letters behind the region
IMAGES = {("ubuntu-os-cloud", f"ubuntu-2404-lts-{cpu}"): f"ubuntu-2404-noble-{cpu}-v20261020" for cpu in ("amd64", "arm64")}
# Each with the boot disks that it takes.
MACHINE_TYPES = {"e2-small": "pd-", "e2-medium": "pd-", "t2a-standard-1": "pd-", "c4a-standard-1": "hyperdisk-"}
KINDS = {"instances": "Instance", "addresses": "Address", "networks": "Network", "subnetworks": "Subnetwork",
         "firewalls": "Firewall"}
NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
LABEL_KEY, LABEL_VALUE = re.compile(r"[a-z][-_a-z0-9]{0,62}"), re.compile(r"[-_a-z0-9]{0,63}")


class Refused(Exception):
    def __init__(self, status, reason, message):
        super().__init__(message)
        self.status = status
        detail = {"message": message, "domain": "global", "reason": reason}
        self.body = {"error": {"code": status, "message": message, "errors": [detail]}}


def invalid(message):
    return Refused(400, "invalid", message)


class Document:
    """Google's word on what is a request and what an answer."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        self.schemas = document["schemas"]
        self.methods = []
        always = set(document["parameters"]) | {"$alt", "$apiVersion"}
        for name, method in document["methods"].items():
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", method["path"])
            self.methods.append((name, method, re.compile(pattern), always | set(method["parameters"])))

    def find(self, verb, path, query):
        for name, method, pattern, parameters in self.methods:
            match = pattern.fullmatch(path)
            if match and method["httpMethod"] == verb:
                for unknown in set(query) - parameters:
                    raise invalid(f"{name} has no parameter {unknown}")
                return name, method, match.groupdict()
        raise Refused(404, "notFound", f"there is no method {verb} {path}")

    def check(self, value, schema, where):
        schema = self.schemas[schema["$ref"]] if "$ref" in schema else schema
        kind = schema.get("type", "any")
        if kind == "object":
            self.demand(isinstance(value, dict), where, value)
            known, others = schema.get("properties", {}), schema.get("additionalProperties")
            for key, inner in value.items():
                if key not in known and others is None:
                    raise invalid(f"Unknown name \"{key}\" at '{where}': Cannot find field.")
                self.check(inner, known.get(key, others), f"{where}.{key}")
        elif kind == "array":
            self.demand(isinstance(value, list), where, value)
            for inner in value:
                self.check(inner, schema["items"], where)
        elif kind == "string":
            wide = schema.get("format") in ("int64", "uint64")
            self.demand(isinstance(value, str) or wide and isinstance(value, int), where, value)
            self.demand("enum" not in schema or value in schema["enum"], where, value)
        elif kind == "boolean":
            self.demand(isinstance(value, bool), where, value)
        elif kind == "integer":
            self.demand(isinstance(value, int) and not isinstance(value, bool), where, value)

    @staticmethod
    def demand(good, where, value):
        if not good:
            raise invalid(f"Invalid value for field '{where}': '{value}'.")


class Project:
    """Everything of one project, by its path below the project."""

    def __init__(self, name, base):
        self.base = f"{base}/compute/v1/projects/{name}/"
        self.things, self.operations, self.requests = {}, {}, {}
        self.numbers = iter(range(1, 10 ** 9))
        if name != "bare":
            self.put("global/networks/default", {"name": "default", "autoCreateSubnetworks": True})
            for at, region in enumerate(ZONES):
                self.put(f"regions/{region}/subnetworks/default",
                         {"name": "default", "network": self.link("global/networks/default"),
                          "ipCidrRange": f"10.{128 + at}.0.0/20", "region": self.link(f"regions/{region}")})
            self.put("global/firewalls/default-allow-ssh",
                     {"name": "default-allow-ssh", "network": self.link("global/networks/default"),
                      "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}], "sourceRanges": ["0.0.0.0/0"],
                      "priority": 65534, "direction": "INGRESS", "disabled": False})

    def link(self, path):
        return self.base + path

    def put(self, path, thing):
        self.things[path] = dict(thing, id=str(next(self.numbers)), selfLink=self.link(path))

    def path(self, link):
        """The path that a full or partial URL means, where something is."""
        path = link.split("/compute/v1/")[-1]
        path = re.sub(r"^projects/[^/]+/", "", path)
        if path not in self.things:
            raise invalid(f"Invalid value for field 'resource': '{link}'. The referenced resource cannot be found.")
        return path

    def get(self, path):
        if path not in self.things:
            raise Refused(404, "notFound", f"The resource '{path}' was not found")
        return self.things[path]

    def users(self, path):
        """What refers to a thing."""
        link = self.link(path)
        for other, thing in self.things.items():
            interfaces = thing.get("networkInterfaces", [])
            links = {part.get(key) for part in [thing, *interfaces] for key in ("network", "subnetwork")}
            address = self.things[path].get("address")
            given = {access.get("natIP") for part in interfaces for access in part.get("accessConfigs", [])}
            if link in links or address and address in given:
                yield other

    def operate(self, scope, kind, path, fault, done):
        """Begins an operation; `done` is called when it ends well."""
        name = f"operation-{uuid.uuid4().hex}"
        slow = fault.get("slow", DELAY) if "finished" not in fault else 0
        operation = {"name": name, "id": str(next(self.numbers)), "kind": "compute#operation", "status": "RUNNING",
                     "operationType": kind, "progress": 0, "targetLink": self.link(path),
                     "selfLink": self.link(f"{scope}/operations/{name}")}
        place = scope.split("/")[0]
        if place != "global":
            operation[place[:-1]] = self.link(scope)
        self.operations[f"{scope}/operations/{name}"] = (time.monotonic() + slow, operation, fault.get("fail"), done)
        self.turn()
        return operation

    def turn(self):
        """Ends the operations whose time has come."""
        for due, operation, fail, done in list(self.operations.values()):
            if operation["status"] == "DONE" or time.monotonic() < due:
                continue
            operation.update(status="DONE", progress=100)
            if fail:
                error = {"code": fail["code"], "message": fail.get("message", fail["code"])}
                operation.update(error={"errors": [error]}, httpErrorStatusCode=fail.get("status", 400),
                                 httpErrorMessage="FAILED")
                if operation["operationType"] == "insert":
                    self.things.pop(operation["targetLink"].removeprefix(self.base), None)
            else:
                done()


class Cloud:
    def __init__(self, document, base):
        self.document, self.base = document, base
        self.lock = threading.Lock()
        self.projects, self.calls = {}, []
        self.heal()

    def heal(self):
        self.faults, self.plague, self.asked, self.dead = [], {}, 0, False
        self.lag, self.seen = 0, {}  # each list as it was, and how often it still comes

    def befall(self, fault):
        if not fault:
            self.heal()
        elif "every" in fault:
            self.plague = fault
        elif "lag" in fault:
            self.lag = fault["lag"]
        else:
            self.faults.append(fault)

    def fault(self, name):
        self.asked += 1
        for fault in self.faults:
            if fault["method"] == name and fault.get("times", 1) > 0:
                if fault.get("skip", 0) > 0:
                    fault["skip"] -= 1
                    continue
                fault["times"] = fault.get("times", 1) - 1
                return fault["kind"]
        return self.plague["kind"] if self.plague and self.asked % self.plague["every"] else {}

    def ask(self, name, method, at, query, body, fault):
        """The answer to a call; that to a list may be an old one."""
        verb = name.split(".")[1]
        if verb.startswith("get"):
            return self.act(name, method, at, query, body, fault)
        if verb not in ("list", "aggregatedList"):
            answer = self.act(name, method, at, query, body, fault)
            self.seen = {key: (old, self.lag) for key, (old, _) in self.seen.items()}
            return answer
        key = json.dumps([name, at, query])
        old, left = self.seen.get(key, (None, 0))
        if left > 0:
            self.seen[key] = (old, left - 1)
            return json.loads(old)
        answer = self.act(name, method, at, query, body, fault)
        self.seen[key] = (json.dumps(answer), 0)
        return answer

    def act(self, name, method, at, query, body, fault):
        """Does what a method says and returns its answer."""
        if at["project"] not in self.projects:
            self.projects[at["project"]] = Project(at["project"], self.base)
        project = self.projects[at["project"]]
        project.turn()
        kind, verb = name.split(".")
        scope = next((f"{key}s/{at[key]}" for key in ("zone", "region") if key in at), "global")
        if "zone" in at and at["zone"][-1] not in ZONES.get(at["zone"][:-2], ""):
            raise invalid(f"Invalid value for field 'zone': '{at['zone']}'. Unknown zone.")
        if kind.endswith("Operations"):
            path = f"{scope}/operations/{at['operation']}"
            if path not in project.operations:
                raise Refused(404, "notFound", f"The resource '{path}' was not found")
            return project.operations[path][1]
        if name == "images.getFromFamily":
            return self.image(project, at)
        if name == "zones.list":
            zones = [{"name": f"{region}-{zone}", "status": "UP", "region": project.link(f"regions/{region}")}
                     for region, letters in ZONES.items() for zone in letters]
            zones.append({"name": "europe-west1-z", "status": "DOWN", "region": project.link("regions/europe-west1")})
            return page(zones, query)
        if verb == "aggregatedList":
            return self.aggregated(project, kind, query)
        if verb == "list":
            return page(chosen(project, f"{scope}/{kind}/", query), query)
        target = next((at[key] for key in ("instance", "address", "network", "subnetwork", "firewall") if key in at), None)
        path = f"{scope}/{kind}/{target or body.get('name')}"
        if verb == "get":
            return project.get(path)
        request = query.get("requestId")
        if request and (not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", request) or not request.strip("0-")):
            raise invalid(f"Invalid value for field 'requestId': '{request}'.")
        if request and (name, path, request) in project.requests:
            return project.requests[name, path, request]
        operation = getattr(self, verb)(project, scope, kind, path, body, fault)
        if request:
            project.requests[name, path, request] = operation
        return operation

    def image(self, project, at):
        name = IMAGES.get((at["project"], at["family"]))
        if not name:
            raise Refused(404, "notFound", f"The resource 'family/{at['family']}' was not found")
        return {"name": name, "family": at["family"], "selfLink": project.link(f"global/images/{name}")}

    def aggregated(self, project, kind, query):
        places = [f"zones/{region}-{zone}" for region, letters in ZONES.items() for zone in letters]
        if kind == "addresses":
            places = [f"regions/{region}" for region in ZONES]
        flat = [(place, thing) for place in places for thing in chosen(project, f"{place}/{kind}/", query)]
        answer, items = page(flat, query), collections.OrderedDict()
        for place in places:
            there = [thing for other, thing in answer.get("items", []) if other == place]
            items[place] = {kind: there} if there else {"warning": {"code": "NO_RESULTS_ON_PAGE"}}
        return dict(answer, items=items)

    def insert(self, project, scope, kind, path, body, fault):
        if not NAME.fullmatch(body.get("name", "")):
            raise invalid(f"Invalid value for field 'resource.name': '{body.get('name')}'.")
        for key, value in body.get("labels", {}).items():
            if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
                raise invalid(f"Invalid value for field 'resource.labels': '{key}={value}'.")
        if path in project.things:
            raise Refused(409, "alreadyExists", f"The resource '{path}' already exists")
        thing = json.loads(json.dumps(body))
        for part in [thing, *thing.get("networkInterfaces", [])]:
            for key in ("network", "subnetwork"):
                if key in part:
                    part[key] = project.link(project.path(part[key]))
        getattr(self, f"new_{kind}")(project, scope, thing)
        project.put(path, thing)

        def done():
            if kind == "instances":
                project.things[path]["status"] = "RUNNING"
        return project.operate(scope, "insert", path, fault, done)

    def new_instances(self, project, scope, thing):
        zone = scope.removeprefix("zones/")
        for key in ("machineType", "disks", "networkInterfaces"):
            if not thing.get(key):
                raise Refused(400, "required", f"Invalid value for field 'resource.{key}': ''. Required field not set")
        wanted = re.fullmatch(r"zones/([^/]+)/machineTypes/(.+)", thing["machineType"])
        if not wanted or wanted[1] != zone or wanted[2] not in MACHINE_TYPES:
            raise invalid(f"Invalid value for field 'resource.machineType': '{thing['machineType']}'.")
        boot = thing["disks"][0]["initializeParams"]
        kind = boot.get("diskType", "pd-standard").split("/")[-1]
        if not kind.startswith(MACHINE_TYPES[wanted[2]]):
            raise invalid(f"[{kind}] features are not compatible for creating instance.")
        image = boot["sourceImage"].split("/")[-1]
        if image not in IMAGES.values():
            raise invalid(f"Invalid value for field 'resource.disks[0]': '{image}'.")
        scheduling = thing.get("scheduling", {})
        if scheduling.get("provisioningModel") == "SPOT" and (
                scheduling.get("automaticRestart", True) or scheduling.get("onHostMaintenance") != "TERMINATE"):
            raise invalid("Scheduling must have preemptible be false when AutomaticRestart is true.")
        number = next(project.numbers)
        for interface in thing["networkInterfaces"]:
            subnet = project.get(project.path(interface["subnetwork"]))
            if subnet["network"] != interface["network"] or not zone.startswith(subnet["region"].split("/")[-1]):
                raise invalid("Invalid value for field 'resource.networkInterfaces[0].subnetwork'.")
            interface["networkIP"] = str(ipaddress.ip_network(subnet["ipCidrRange"])[1 + number])
            for access in interface.get("accessConfigs", []):
                reserved = [other for path, other in project.things.items() if "/addresses/" in path
                            and other["address"] == access.get("natIP")]
                if "natIP" in access and not reserved:
                    raise invalid(f"Invalid value for field 'natIP': '{access['natIP']}'.")
                access.setdefault("natIP", f"127.78.0.{number}")
        thing["metadata"]["fingerprint"] = "bWV0YTE="
        thing.update(status="PROVISIONING", zone=project.link(scope))

    def new_networks(self, project, scope, thing):
        thing["subnetworks"] = []

    def new_subnetworks(self, project, scope, thing):
        block = ipaddress.ip_network(thing["ipCidrRange"])
        thing.update(region=project.link(scope), gatewayAddress=str(block[1]))

    def new_addresses(self, project, scope, thing):
        thing.update(status="RESERVED", region=project.link(scope), address=f"127.79.0.{next(project.numbers)}")

    def new_firewalls(self, project, scope, thing):
        if bool(thing.get("allowed")) == bool(thing.get("denied")):
            raise invalid("Firewall rule must specify either allowed or denied.")
        for block in thing.get("sourceRanges", []):
            ipaddress.ip_network(block)
        for key, value in (("priority", 1000), ("direction", "INGRESS"), ("disabled", False)):
            thing.setdefault(key, value)

    def delete(self, project, scope, kind, path, body, fault):
        thing = project.get(path)
        for user in project.users(path):
            raise Refused(400, "resourceInUseByAnotherResource",
                          f"The resource '{path}' is already being used by '{user}'")
        if kind == "instances":
            thing["status"] = "STOPPING"
        return project.operate(scope, "delete", path, fault, lambda: project.things.pop(path, None))

    def patch(self, project, scope, kind, path, body, fault):
        thing, change = project.get(path), json.loads(json.dumps(body))
        if "network" in change:
            change["network"] = project.link(project.path(change["network"]))
            if change["network"] != thing["network"]:
                raise invalid("Network can not be changed.")
        return project.operate(scope, "patch", path, fault, lambda: thing.update(change))

    def start(self, project, scope, kind, path, body, fault):
        thing = project.get(path)
        return project.operate(scope, "start", path, fault, lambda: thing.update(status="RUNNING"))

    def setMetadata(self, project, scope, kind, path, body, fault):
        thing = project.get(path)
        if body.get("fingerprint") != thing["metadata"]["fingerprint"]:
            raise Refused(412, "conditionNotMet", "Supplied fingerprint does not match current metadata fingerprint.")
        after = dict(body, fingerprint="bWV0YTI=")
        return project.operate(scope, "setMetadata", path, fault, lambda: thing.update(metadata=after))


def chosen(project, prefix, query):
    """The things below a path that a filter lets through; it knows the two forms of filter that the adapter has."""
    tests = []
    for term in filter(None, query.get("filter", "").split(" AND ")):
        name, label = re.fullmatch(r"name eq (\S+)", term), re.fullmatch(r"labels\.([-\w]+)=([-\w]+)", term)
        if name:
            tests.append(lambda thing, name=name: re.fullmatch(name[1], thing["name"]))
        elif label:
            tests.append(lambda thing, label=label: thing.get("labels", {}).get(label[1]) == label[2])
        else:
            raise invalid(f"Invalid value for field 'filter': '{term}'.")
    found = [thing for path, thing in sorted(project.things.items()) if path.startswith(prefix)]
    return [thing for thing in found if all(test(thing) for test in tests)]


def page(items, query):
    size, start = int(query.get("maxResults", 500)), int(query.get("pageToken", 0))
    answer = {"items": items[start:start + size]} if items[start:start + size] else {}
    if start + size < len(items):
        answer["nextPageToken"] = str(start + size)
    return answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud = None

    def log_message(self, *_):
        pass

    def serve(self):
        cloud, url = self.cloud, urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or "{}")
        if url.path == "/_calls":
            with cloud.lock:
                return self.answer(200, json.dumps(cloud.calls))
        if url.path == "/_status":
            with cloud.lock:
                cloud.projects[body["project"]].things[body["path"]]["status"] = body["status"]
            return self.answer(200, "{}")
        if url.path == "/_fault":
            with cloud.lock:
                cloud.befall(body)
            return self.answer(200, "{}")
        fault = {}
        with cloud.lock:
            if cloud.dead:
                self.close_connection = True
                return None
            call = {"method": None, "query": query, "body": body, "authorization": self.headers.get("authorization")}
            cloud.calls.append(call)
            try:
                path = url.path.removeprefix("/compute/v1/")
                name, method, at = cloud.document.find(self.command, path, query)
                call.update(method=name, at=at)
                fault = cloud.fault(name)
                if "raw" in fault:
                    status, text = fault["status"], fault["raw"]
                elif "reason" in fault:
                    raise Refused(fault["status"], fault["reason"], fault.get("message", "so the test wants it"))
                elif "hang" in fault:
                    status, text = 0, ""
                else:
                    if "request" in method:
                        cloud.document.check(body, method["request"], "resource")
                    answer = cloud.ask(name, method, at, query, body, fault)
                    cloud.document.check(answer, method["response"], "answer")
                    status, text = 200, json.dumps(answer)
            except Refused as refused:
                status, text = refused.status, json.dumps(refused.body)
            call["status"] = status
            cloud.dead = "die" in fault
        if "hang" in fault:
            time.sleep(fault["hang"])
        if {"hang", "lose", "die"} & set(fault):
            self.close_connection = True
            return None
        return self.answer(status, text)

    def answer(self, status, text):
        kind = "text/html" if text.startswith("<") else "application/json; charset=UTF-8"
        head = f"HTTP/1.1 {status} so\r\ncontent-type: {kind}\r\ncontent-length: {len(text.encode())}\r\n\r\n"
        self.wfile.write((head + text).encode())

    do_GET = do_POST = do_DELETE = do_PATCH = serve


def main():
    # PR_SET_PDEATHSIG is 1: ends with the thread that started it, be that killed.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.cloud = Cloud(Document(sys.argv[1]), f"http://127.0.0.1:{server.server_port}")
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
