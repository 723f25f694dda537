// A node-opcua server for tests: alarms, job orders, structures and a history. It speaks the protocol of `line_protocol.py`.
"use strict";

// What modules have to say is no answer.
console.log = console.info = console.warn = console.error;

const path = require("path");
const readline = require("readline");
const {
    DataType,
    OPCUACertificateManager,
    OPCUAServer,
    ServiceFault,
    StatusCodes,
    Variant,
    VariantArrayType,
    coerceLocalizedText,
    nodesets,
} = require("node-opcua");

const PLANT = "urn:floorgate:test:plant";
const JOBS = "http://opcfoundation.org/UA/ISA95-JOBCONTROL_V2/";

function answer(what) {
    process.stdout.write(JSON.stringify(what) + "\n");
}

class Plant {
    constructor(server) {
        this.server = server;
        this.space = server.engine.addressSpace;
        this.plant = this.space.registerNamespace(PLANT);
        this.variables = {};
        this.alarms = {};
        this.cuts = {};
        this.largest = {};
        this.requests = {};
        this.refuseWhole();
        server.on("request", (request, channel) => {
            const { name } = request.schema;
            const operations = request.itemsToCreate ?? request.nodesToRead ?? request.nodesToBrowse ?? [];
            this.largest[name] = Math.max(this.largest[name] ?? 0, operations.length);
            this.requests[name] = (this.requests[name] ?? 0) + 1;
            this.meddle(name, channel);
        });
    }

    // Ends the connection instead of answering a request, where that was asked for.
    meddle(request, channel) {
        const left = this.cuts[request];
        if (left === undefined) return;
        this.cuts[request] = left - 1;
        if (left === 0) {
            delete this.cuts[request];
            channel.abruptlyInterrupt();
        }
    }

    // Refuses, where that was asked for, a request as a whole whose items would be more than it takes, as some servers do.
    refuseWhole() {
        const { server } = this;
        const create = server._on_CreateMonitoredItemsRequest.bind(server);
        server._on_CreateMonitoredItemsRequest = (message, channel) => {
            const items = this.items() + message.request.itemsToCreate.length;
            if (!this.refusesWhole || items <= server.engine.serverCapabilities.maxMonitoredItems) {
                return create(message, channel);
            }
            const responseHeader = { serviceResult: StatusCodes.BadTooManyMonitoredItems };
            return channel.send_response("MSG", new ServiceFault({ responseHeader }), message);
        };
    }

    items() {
        const sessions = Object.values(this.server.engine._sessions);
        return sessions.reduce((sum, session) => sum + session.currentMonitoredItemCount, 0);
    }

    build() {
        const { plant, space } = this;
        space.installAlarmsAndConditionsService();
        const boiler = plant.addObject({
            browseName: "Boiler",
            nodeId: "s=Boiler",
            organizedBy: space.rootFolder.objects,
            eventSourceOf: space.rootFolder.objects.server,
            eventNotifier: 1,
        });
        this.boiler = boiler;
        for (const name of ["Level", "Pressure"]) {
            const input = this.add({ node: `Boiler.${name}`, type: "Double", value: 50, parent: boiler });
            this.alarms[name] = plant.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
                browseName: `${name}High`,
                nodeId: `s=Boiler.${name}High`,
                componentOf: boiler,
                conditionName: `${name}High`,
                conditionSource: boiler,
                inputNode: input,
                highLimit: 90,
                highHighLimit: 95,
                lowLimit: 10,
                lowLowLimit: 5,
                optionals: ["ConfirmedState", "Confirm"],
            });
        }
    }

    add({ node, type, value, parent, range, sampled = true }) {
        const options = {
            browseName: node,
            nodeId: `s=${node}`,
            dataType: type,
            minimumSamplingInterval: sampled ? 10 : 0,
            ...(parent ? { componentOf: parent, eventSourceOf: parent } : { organizedBy: this.space.rootFolder.objects }),
            value: new Variant({ dataType: DataType[type], value }),
        };
        const variable = range
            ? this.plant.addAnalogDataItem({ ...options, engineeringUnitsRange: range })
            : this.plant.addVariable(options);
        this.variables[node] = variable;
        return variable;
    }

    operations() {
        return {
            add: (request) => void this.add(request),
            set: ({ node, values }) => {
                const variable = this.variables[node];
                const type = variable.readValue().value.dataType;
                for (const value of values) {
                    // A history takes each time once.
                    this.last = Math.max(Date.now(), (this.last ?? 0) + 1);
                    variable.setValueFromSource({ dataType: type, value }, StatusCodes.Good, new Date(this.last));
                }
            },
            // How many items or nodes the largest request of a kind had.
            largest: ({ request }) => ({ value: this.largest[request] ?? 0 }),
            requests: ({ request }) => ({ value: this.requests[request] ?? 0 }),
            capabilities: ({ capabilities }) => void Object.assign(this.server.engine.serverCapabilities, capabilities),
            refuse_whole: () => void (this.refusesWhole = true),
            cut: ({ request, after }) => void (this.cuts[request] = after),
            // The job orders' own event, as a machine reports it.
            job: ({ order, state }) => {
                const index = this.space.getNamespaceIndex(JOBS);
                const of = (name) => this.space.findDataType(name, index);
                const make = (name, fields) => this.space.constructExtensionObject(of(name), fields);
                const states = [make("ISA95StateDataType", { stateNumber: state, stateText: coerceLocalizedText("state") })];
                this.boiler.raiseEvent(this.space.findEventType("ISA95JobOrderStatusEventType", index), {
                    jobOrder: {
                        dataType: DataType.ExtensionObject,
                        value: make("ISA95JobOrderDataType", { jobOrderID: order, priority: 3 }),
                    },
                    jobState: { dataType: DataType.ExtensionObject, arrayType: VariantArrayType.Array, value: states },
                    message: { dataType: DataType.LocalizedText, value: { text: `${order} is at ${state}` } },
                });
            },
            order: ({ node, order, parameters }) => {
                const index = this.space.getNamespaceIndex(JOBS);
                const make = (name, fields) =>
                    this.space.constructExtensionObject(this.space.findDataType(name, index), fields);
                const list = parameters.map((value, number) =>
                    make("ISA95ParameterDataType", {
                        ID: `P${number}`,
                        value: { dataType: DataType.Double, value },
                    }));
                const value = make("ISA95JobOrderDataType", { jobOrderID: order, jobOrderParameters: list, priority: 7 });
                if (!this.variables[node]) {
                    this.variables[node] = this.plant.addVariable({
                        browseName: node,
                        nodeId: `s=${node}`,
                        dataType: this.space.findDataType("ISA95JobOrderDataType", index),
                        organizedBy: this.space.rootFolder.objects,
                        minimumSamplingInterval: 10,
                    });
                }
                this.variables[node].setValueFromSource({ dataType: DataType.ExtensionObject, value });
            },
            acknowledge: ({ alarm }) => {
                const condition = this.alarms[alarm];
                const branch = condition.currentBranch();
                condition.acknowledgeAndAutoConfirmBranch(branch, branch.getEventId(), "seen", "operator", "floor");
            },
            historize: ({ node }) => void this.space.installHistoricalDataNode(this.variables[node], { maxOnlineValues: 10000 }),
            // Sessions whose connection is gone count until they are closed or forgotten, subscriptions without a session until they are deleted.
            count: () => {
                const { engine } = this.server;
                return {
                    sessions: engine.currentSessionCount,
                    sessions_ever: engine.cumulatedSessionCount,
                    subscriptions: engine.currentSubscriptionCount,
                    items: this.items(),
                };
            },
        };
    }
}

async function main() {
    const [port, folder, special] = process.argv.slice(2);
    const certificates = new OPCUACertificateManager({
        automaticallyAcceptUnknownCertificate: true,
        rootFolder: path.join(folder, "pki"),
    });
    await certificates.initialize();
    const server = new OPCUAServer({
        port: Number(port),
        serverCertificateManager: certificates,
        nodeset_filename: [nodesets.standard, nodesets.di, nodesets.isa95JobControl].filter(Boolean),
        ...JSON.parse(special),
    });
    await server.initialize();
    const plant = new Plant(server);
    plant.build();
    await server.start();
    const operations = plant.operations();
    answer({ ok: { ready: true } });
    const requests = readline.createInterface({ input: process.stdin });
    for await (const line of requests) {
        try {
            const { op, ...rest } = JSON.parse(line);
            answer({ ok: (await operations[op](rest)) ?? {} });
        } catch (error) {
            answer({ error: String(error.stack ?? error) });
        }
    }
    await server.shutdown(0);
    process.exit(0);
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
