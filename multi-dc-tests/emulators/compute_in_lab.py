"""compute.py in a lab: compute_in_lab.py COMPUTE.PY DISCOVERY_DOCUMENT.

It listens on 127.0.0.1 and prints its port. Public addresses are not in 127/8 but in 34/8, which a lab can route.

  GET /_machines  [{"id", "name", "private", "public", "power", "user_data"}]; power is on, off, gone or between
  GET /_things    the paths of everything there is, of whatever kind
"""

import importlib.util
import json
import sys

POWER = {"RUNNING": "on", "TERMINATED": "off"}

spec = importlib.util.spec_from_file_location("compute", sys.argv.pop(1))
compute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compute)


def routable(address):
    return "34." + address.removeprefix("127.") if address.startswith("127.") else address


class Cloud(compute.Cloud):
    def new_instances(self, project, scope, thing):
        super().new_instances(project, scope, thing)
        for interface in thing["networkInterfaces"]:
            for access in interface.get("accessConfigs", []):
                access["natIP"] = routable(access["natIP"])

    def new_addresses(self, project, scope, thing):
        super().new_addresses(project, scope, thing)
        thing["address"] = routable(thing["address"])

    def things(self):
        return [path for project in self.projects.values() for path in project.things]

    def machines(self):
        for project in self.projects.values():
            project.turn()
            for path, thing in project.things.items():
                if "/instances/" not in path:
                    continue
                interface = thing["networkInterfaces"][0]
                public = [access["natIP"] for access in interface.get("accessConfigs", [])]
                items = {item["key"]: item["value"] for item in thing["metadata"].get("items", [])}
                yield {"id": thing["id"], "name": thing.get("labels", {}).get("weave-host", ""),
                       "private": interface["networkIP"], "public": next(iter(public), None),
                       "power": POWER.get(thing["status"], "between"), "user_data": items.get("user-data", "")}


class Handler(compute.Handler):
    def serve(self):
        windows = {"/_machines": self.cloud.machines, "/_things": self.cloud.things}
        if self.path not in windows:
            return super().serve()
        with self.cloud.lock:
            text = json.dumps(list(windows[self.path]()))
        return self.answer(200, text)

    do_GET = do_POST = do_DELETE = do_PATCH = serve


compute.Cloud, compute.Handler = Cloud, Handler
compute.main()
