import static org.eclipse.milo.opcua.stack.core.types.builtin.unsigned.Unsigned.ubyte;
import static org.eclipse.milo.opcua.stack.core.types.builtin.unsigned.Unsigned.uint;
import static org.eclipse.milo.opcua.stack.core.types.builtin.unsigned.Unsigned.ulong;
import static org.eclipse.milo.opcua.stack.core.types.builtin.unsigned.Unsigned.ushort;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.lang.reflect.Array;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.eclipse.milo.opcua.sdk.core.AccessLevel;
import org.eclipse.milo.opcua.sdk.core.Reference;
import org.eclipse.milo.opcua.sdk.core.types.DynamicEnumType;
import org.eclipse.milo.opcua.sdk.core.types.DynamicStructType;
import org.eclipse.milo.opcua.sdk.core.types.DynamicUnionType;
import org.eclipse.milo.opcua.sdk.core.types.codec.DynamicCodecFactory;
import org.eclipse.milo.opcua.sdk.core.typetree.DataType;
import org.eclipse.milo.opcua.sdk.server.EndpointConfig;
import org.eclipse.milo.opcua.sdk.server.ManagedNamespaceWithLifecycle;
import org.eclipse.milo.opcua.sdk.server.OpcUaServer;
import org.eclipse.milo.opcua.sdk.server.OpcUaServerConfig;
import org.eclipse.milo.opcua.sdk.server.identity.AnonymousIdentityValidator;
import org.eclipse.milo.opcua.sdk.server.identity.CompositeValidator;
import org.eclipse.milo.opcua.sdk.server.identity.UsernameIdentityValidator;
import org.eclipse.milo.opcua.sdk.server.items.DataItem;
import org.eclipse.milo.opcua.sdk.server.items.MonitoredItem;
import org.eclipse.milo.opcua.sdk.server.model.objects.BaseEventTypeNode;
import org.eclipse.milo.opcua.sdk.server.model.objects.DataTypeEncodingTypeNode;
import org.eclipse.milo.opcua.sdk.server.nodes.UaDataTypeNode;
import org.eclipse.milo.opcua.sdk.server.nodes.UaVariableNode;
import org.eclipse.milo.opcua.stack.core.NodeIds;
import org.eclipse.milo.opcua.stack.core.OpcUaDataType;
import org.eclipse.milo.opcua.stack.core.security.DefaultApplicationGroup;
import org.eclipse.milo.opcua.stack.core.security.DefaultCertificateManager;
import org.eclipse.milo.opcua.stack.core.security.DefaultServerCertificateValidator;
import org.eclipse.milo.opcua.stack.core.security.FileBasedTrustListManager;
import org.eclipse.milo.opcua.stack.core.security.KeyStoreCertificateStore;
import org.eclipse.milo.opcua.stack.core.security.MemoryCertificateQuarantine;
import org.eclipse.milo.opcua.stack.core.security.RsaSha256CertificateFactory;
import org.eclipse.milo.opcua.stack.core.security.SecurityPolicy;
import org.eclipse.milo.opcua.stack.core.transport.TransportProfile;
import org.eclipse.milo.opcua.stack.core.types.UaStructuredType;
import org.eclipse.milo.opcua.stack.core.types.builtin.ByteString;
import org.eclipse.milo.opcua.stack.core.types.builtin.DataValue;
import org.eclipse.milo.opcua.stack.core.types.builtin.DateTime;
import org.eclipse.milo.opcua.stack.core.types.builtin.ExpandedNodeId;
import org.eclipse.milo.opcua.stack.core.types.builtin.ExtensionObject;
import org.eclipse.milo.opcua.stack.core.types.builtin.LocalizedText;
import org.eclipse.milo.opcua.stack.core.types.builtin.Matrix;
import org.eclipse.milo.opcua.stack.core.types.builtin.NodeId;
import org.eclipse.milo.opcua.stack.core.types.builtin.QualifiedName;
import org.eclipse.milo.opcua.stack.core.types.builtin.StatusCode;
import org.eclipse.milo.opcua.stack.core.types.builtin.Variant;
import org.eclipse.milo.opcua.stack.core.types.builtin.XmlElement;
import org.eclipse.milo.opcua.stack.core.types.builtin.unsigned.UInteger;
import org.eclipse.milo.opcua.stack.core.types.enumerated.MessageSecurityMode;
import org.eclipse.milo.opcua.stack.core.types.enumerated.StructureType;
import org.eclipse.milo.opcua.stack.core.types.structured.BuildInfo;
import org.eclipse.milo.opcua.stack.core.types.structured.DataTypeDefinition;
import org.eclipse.milo.opcua.stack.core.types.structured.EnumDefinition;
import org.eclipse.milo.opcua.stack.core.types.structured.EnumField;
import org.eclipse.milo.opcua.stack.core.types.structured.StructureDefinition;
import org.eclipse.milo.opcua.stack.core.types.structured.StructureField;
import org.eclipse.milo.opcua.stack.core.util.SelfSignedCertificateBuilder;
import org.eclipse.milo.opcua.stack.transport.server.tcp.OpcTcpServerTransport;
import org.eclipse.milo.opcua.stack.transport.server.tcp.OpcTcpServerTransportConfig;

/**
 * An Eclipse Milo server for tests: variables of every type, an enumeration and structures of its own, behind encryption. It speaks the protocol of `line_protocol.py`; its one
 * argument is a file with the port, the users with their passwords, and the variables that it begins with. What it keeps lies beside that file.
 */
public final class Peer {
    static final String PLANT = "urn:floorgate:test:plant";
    static final String APPLICATION = "urn:floorgate:test:milo";
    static final Gson JSON = new Gson();

    public static void main(String[] arguments) throws Exception {
        // Answers alone go to standard output.
        var answers = System.out;
        System.setOut(System.err);
        Path file = Path.of(arguments[0]);
        JsonObject settings = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
        var trusted = FileBasedTrustListManager.createAndInitialize(Files.createDirectories(file.resolveSibling("pki")));
        OpcUaServer server = server(settings, file.resolveSibling("pki"), trusted);
        var plant = new Plant(server);
        plant.startup();
        for (JsonElement variable : settings.getAsJsonArray("variables")) {
            plant.add(variable.getAsJsonObject());
        }
        server.startup().get();
        answers.println("{\"ok\": {\"ready\": true}}");
        var requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            var answer = new LinkedHashMap<String, Object>();
            try {
                answer.put("ok", answer(plant, trusted, JsonParser.parseString(line).getAsJsonObject()));
            } catch (Exception error) {
                answer.put("error", error.toString());
            }
            answers.println(JSON.toJson(answer));
        }
        server.shutdown().get(5, TimeUnit.SECONDS);
        System.exit(0);
    }

    static Map<String, Object> answer(Plant plant, FileBasedTrustListManager trusted, JsonObject request) throws Exception {
        return switch (request.get("op").getAsString()) {
            case "add" -> plant.add(request);
            case "set" -> plant.set(request);
            case "set_all" -> plant.setAll(request);
            case "set_every" -> plant.setEvery(request);
            case "count_up" -> plant.countUp(request);
            case "progress" -> plant.progress(request);
            case "tell" -> plant.tell(request);
            case "count" -> plant.count();
            case "twist" -> plant.twist();
            case "trust" -> {
                try (var der = new FileInputStream(request.get("certificate").getAsString())) {
                    var certificate = CertificateFactory.getInstance("X.509").generateCertificate(der);
                    trusted.addTrustedCertificate((X509Certificate) certificate);
                }
                yield Map.of();
            }
            default -> throw new IllegalArgumentException("no such operation: " + request);
        };
    }

    /** A server that is not started, with a key that it makes once. */
    static OpcUaServer server(JsonObject settings, Path pki, FileBasedTrustListManager trusted) throws Exception {
        int port = settings.get("port").getAsInt();
        var quarantine = new MemoryCertificateQuarantine();
        var store = KeyStoreCertificateStore.createAndInitialize(
            new KeyStoreCertificateStore.Settings(pki.resolve("server.pfx"), "test"::toCharArray, alias -> "test".toCharArray()));
        var made = new RsaSha256CertificateFactory() {
            @Override
            protected X509Certificate[] createRsaSha256CertificateChain(KeyPair keys) throws Exception {
                var builder = new SelfSignedCertificateBuilder(keys);
                builder.setCommonName("Milo").setApplicationUri(APPLICATION).addIpAddress("127.0.0.1");
                return new X509Certificate[] {builder.build()};
            }
        };
        var group = DefaultApplicationGroup.createAndInitialize(
            trusted, store, made, new DefaultServerCertificateValidator(trusted, quarantine));
        var certificate = group.getCertificateEntries().get(0).certificateChain[0];
        Files.write(pki.resolve("server.der"), certificate.getEncoded());

        JsonObject users = settings.getAsJsonObject("users");
        var endpoint = EndpointConfig.newBuilder()
            .setBindAddress("127.0.0.1")
            .setBindPort(port)
            .setHostname("127.0.0.1")
            .setCertificate(certificate)
            .setTransportProfile(TransportProfile.TCP_UASC_UABINARY)
            .setSecurityPolicy(SecurityPolicy.Basic256Sha256)
            .setSecurityMode(MessageSecurityMode.SignAndEncrypt)
            .addTokenPolicies(OpcUaServerConfig.USER_TOKEN_POLICY_USERNAME);
        if (users.size() == 0) {
            endpoint.addTokenPolicies(OpcUaServerConfig.USER_TOKEN_POLICY_ANONYMOUS);
        }
        // Whoever connects asks there which endpoints there are.
        var discovery = endpoint.copy().setPath("/discovery").setSecurityPolicy(SecurityPolicy.None).setSecurityMode(MessageSecurityMode.None);
        var byName = new UsernameIdentityValidator(challenge -> {
            JsonElement password = users.get(challenge.getUsername());
            return password != null && password.getAsString().equals(challenge.getPassword());
        });
        var config = OpcUaServerConfig.builder()
            .setApplicationUri(APPLICATION)
            .setApplicationName(LocalizedText.english("Milo"))
            .setProductUri(APPLICATION)
            .setBuildInfo(new BuildInfo(APPLICATION, "floorgate", "Milo", OpcUaServer.SDK_VERSION, "", DateTime.now()))
            .setCertificateManager(new DefaultCertificateManager(quarantine, group))
            .setIdentityValidator(new CompositeValidator(AnonymousIdentityValidator.INSTANCE, byName))
            .setEndpoints(Set.of(endpoint.build(), discovery.build()))
            .build();
        return new OpcUaServer(config, profile -> new OpcTcpServerTransport(OpcTcpServerTransportConfig.newBuilder().build()));
    }

    /** The variables, and the types of their own. */
    static final class Plant extends ManagedNamespaceWithLifecycle {
        final Map<String, UaVariableNode> variables = new ConcurrentHashMap<>();
        final Map<String, String> types = new ConcurrentHashMap<>();
        final Map<String, ScheduledFuture<?>> counting = new ConcurrentHashMap<>();
        final List<DataItem> items = new CopyOnWriteArrayList<>();

        Plant(OpcUaServer server) {
            super(server, PLANT);
            getLifecycleManager().addStartupTask(this::addTypes);
        }

        void addTypes() {
            type("Container", NodeIds.Enumeration, new EnumDefinition(new EnumField[] {
                choice(0, "Bottle"), choice(1, "Can"), choice(5, "Keg"),
            }));
            structure("Step", StructureType.Structure, field("Name", NodeIds.String, -1, false), field("Seconds", NodeIds.Double, -1, false));
            structure(
                "Order",
                StructureType.StructureWithOptionalFields,
                field("Id", NodeIds.String, -1, false),
                field("Quantity", NodeIds.UInt32, -1, true),
                field("Container", typeId("Container"), -1, false),
                field("Steps", typeId("Step"), 1, true),
                field("Speeds", NodeIds.Double, 1, true),
                field("Due", NodeIds.DateTime, -1, true));
            structure("Reject", StructureType.Union, field("Code", NodeIds.Int32, -1, false), field("Reason", NodeIds.String, -1, false));
        }

        EnumField choice(long value, String name) {
            return new EnumField(value, LocalizedText.english(name), LocalizedText.NULL_VALUE, name);
        }

        StructureField field(String name, NodeId type, int rank, boolean isOptional) {
            UInteger[] dimensions = rank == 1 ? new UInteger[] {uint(0)} : null;
            return new StructureField(name, LocalizedText.NULL_VALUE, type, rank, dimensions, uint(0), isOptional);
        }

        UaDataTypeNode type(String name, NodeId base, DataTypeDefinition definition) {
            var node = new UaDataTypeNode(
                getNodeContext(), typeId(name), newQualifiedName(name), LocalizedText.english(name),
                LocalizedText.NULL_VALUE, uint(0), uint(0), null, null, null, false, definition);
            getNodeManager().addNode(node);
            node.addReference(new Reference(node.getNodeId(), NodeIds.HasSubtype, base.expanded(), false));
            return node;
        }

        void structure(String name, StructureType kind, StructureField... fields) {
            NodeId base = kind == StructureType.Union ? NodeIds.Union : NodeIds.Structure;
            NodeId encoding = newNodeId("types/" + name + "/binary");
            UaDataTypeNode type = type(name, base, new StructureDefinition(encoding, base, kind, fields));
            var node = new DataTypeEncodingTypeNode(
                getNodeContext(), encoding, new QualifiedName(0, "Default Binary"), LocalizedText.english("Default Binary"),
                LocalizedText.NULL_VALUE, uint(0), uint(0), null, null, null);
            getNodeManager().addNode(node);
            node.addReference(new Reference(encoding, NodeIds.HasTypeDefinition, NodeIds.DataTypeEncodingType.expanded(), true));
            type.addReference(new Reference(type.getNodeId(), NodeIds.HasEncoding, encoding.expanded(), true));
            var tree = getServer().updateDataTypeTree();
            var codec = DynamicCodecFactory.create(tree.getDataType(type.getNodeId()), tree);
            getServer().getDynamicDataTypeManager().registerType(type.getNodeId(), codec, encoding, null, null);
        }

        Map<String, Object> add(JsonObject request) {
            String name = request.get("node").getAsString();
            String type = request.get("type").getAsString();
            JsonElement value = request.get("value");
            types.put(name, type);
            var node = new UaVariableNode.UaVariableNodeBuilder(getNodeContext())
                .setNodeId(newNodeId(name))
                .setBrowseName(newQualifiedName(name))
                .setDisplayName(LocalizedText.english(name))
                .setDataType(typeId(type))
                .setTypeDefinition(NodeIds.BaseDataVariableType)
                .setValueRank(rank(value) == 0 ? -1 : rank(value))
                .setArrayDimensions(rank(value) == 0 ? null : Stream.generate(() -> uint(0)).limit(rank(value)).toArray(UInteger[]::new))
                .setAccessLevel(AccessLevel.READ_ONLY)
                .setUserAccessLevel(AccessLevel.READ_ONLY)
                .build();
            node.addReference(new Reference(node.getNodeId(), NodeIds.Organizes, NodeIds.ObjectsFolder.expanded(), false));
            getNodeManager().addNode(node);
            variables.put(name, node);
            return set(request);
        }

        /** Sets a value, and hands it to whoever watches it: every change is told, and none is sampled away. */
        Map<String, Object> set(JsonObject request) {
            String name = request.get("node").getAsString();
            StatusCode status = request.has("status") ? new StatusCode(request.get("status").getAsLong()) : StatusCode.GOOD;
            var time = request.has("time") ? new DateTime(Instant.parse(request.get("time").getAsString())) : DateTime.now();
            put(name, new Variant(value(types.get(name), request.get("value"))), status, time);
            return Map.of("source_time", time.getJavaInstant().toString());
        }

        synchronized void put(String name, Variant value, StatusCode status, DateTime time) {
            UaVariableNode node = variables.get(name);
            var data = new DataValue(value, status, time, DateTime.now());
            node.setValue(data);
            for (DataItem item : items) {
                if (item.getReadValueId().getNodeId().equals(node.getNodeId())) {
                    item.setValue(data);
                }
            }
        }

        Map<String, Object> countUp(JsonObject request) {
            String name = request.get("node").getAsString();
            long last = request.get("last").getAsLong();
            long[] next = {request.get("first").getAsLong()};
            Runnable step = () -> {
                if (next[0] <= last) {
                    put(name, new Variant(uint(next[0]++)), StatusCode.GOOD, DateTime.now());
                } else {
                    counting.get(name).cancel(false);
                }
            };
            var timer = getServer().getScheduledExecutorService();
            counting.put(name, timer.scheduleAtFixedRate(step, 0, request.get("interval_ms").getAsLong(), TimeUnit.MILLISECONDS));
            return Map.of();
        }

        Map<String, Object> progress(JsonObject request) {
            Variant value = variables.get(request.get("node").getAsString()).getValue().getValue();
            return Map.of("value", value.getValue());
        }

        /** Sets a variable to one value after the other. */
        Map<String, Object> setAll(JsonObject request) {
            String name = request.get("node").getAsString();
            for (JsonElement value : request.getAsJsonArray("values")) {
                put(name, new Variant(value(types.get(name), value)), StatusCode.GOOD, DateTime.now());
            }
            return Map.of();
        }

        /** Sets all variables, which are of one type, to one value after the other. */
        synchronized Map<String, Object> setEvery(JsonObject request) {
            for (JsonElement value : request.getAsJsonArray("values")) {
                var data = new HashMap<NodeId, DataValue>();
                variables.forEach((name, node) -> {
                    data.put(node.getNodeId(), new DataValue(new Variant(value(types.get(name), value)), StatusCode.GOOD, DateTime.now(), DateTime.now()));
                    node.setValue(data.get(node.getNodeId()));
                });
                for (DataItem item : items) {
                    item.setValue(data.get(item.getReadValueId().getNodeId()));
                }
            }
            return Map.of();
        }

        /** Tells events of the server, which have no state. */
        Map<String, Object> tell(JsonObject request) throws Exception {
            for (JsonElement message : request.getAsJsonArray("messages")) {
                tell(message.getAsString(), request.get("severity").getAsInt());
            }
            return Map.of();
        }

        void tell(String message, int severity) throws Exception {
            BaseEventTypeNode event = getServer().getEventFactory().createEvent(newNodeId(UUID.randomUUID()), NodeIds.SystemEventType);
            event.setBrowseName(newQualifiedName("Told"));
            event.setDisplayName(LocalizedText.english("Told"));
            event.setEventId(ByteString.of(UUID.randomUUID().toString().getBytes(StandardCharsets.US_ASCII)));
            event.setEventType(NodeIds.SystemEventType);
            event.setSourceNode(NodeIds.Server);
            event.setSourceName("Server");
            event.setTime(DateTime.now());
            event.setReceiveTime(DateTime.now());
            event.setMessage(LocalizedText.english(message));
            event.setSeverity(ushort(severity));
            getServer().getEventNotifier().fire(event);
            event.delete();
        }

        Map<String, Object> count() {
            var summary = getServer().getDiagnosticsSummary();
            return Map.of(
                "sessions", getServer().getSessionManager().getAllSessions().size(),
                "sessions_ever", summary.getCumulatedSessionCount().sum(),
                "subscriptions", getServer().getSubscriptions().size(),
                "items", getServer().getMonitoredItemCount().get());
        }

        /** Says that a type is a subtype of itself, which no server should. */
        Map<String, Object> twist() {
            NodeId id = typeId("Step");
            getNodeManager().get(id).addReference(new Reference(id, NodeIds.HasSubtype, id.expanded(), true));
            return Map.of();
        }

        NodeId typeId(String name) {
            return switch (name) {
                case "Container", "Step", "Order", "Reject" -> newNodeId("types/" + name);
                default -> OpcUaDataType.valueOf(name).getNodeId();
            };
        }

        /** How many dimensions a value has. */
        int rank(JsonElement value) {
            return value.isJsonArray() ? 1 + (value.getAsJsonArray().isEmpty() ? 0 : rank(value.getAsJsonArray().get(0))) : 0;
        }

        /** A value of a type, or an array of them, of one dimension or more. */
        Object value(String type, JsonElement json) {
            if (!json.isJsonArray()) {
                return scalar(type, json);
            }
            return rank(json) > 1 ? new Matrix(array(type, json)) : array(type, json);
        }

        Object array(String type, JsonElement json) {
            var values = new ArrayList<Object>();
            for (JsonElement element : json.getAsJsonArray()) {
                values.add(element.isJsonArray() ? array(type, element) : scalar(type, element));
            }
            Class<?> kind = values.isEmpty() ? OpcUaDataType.valueOf(type).getBackingClass() : values.get(0).getClass();
            Object array = Array.newInstance(ExtensionObject.class.isAssignableFrom(kind) ? ExtensionObject.class : kind, values.size());
            for (int place = 0; place < values.size(); place++) {
                Array.set(array, place, values.get(place));
            }
            return array;
        }

        Object scalar(String type, JsonElement json) {
            return switch (type) {
                case "Boolean" -> json.getAsBoolean();
                case "SByte" -> json.getAsByte();
                case "Byte" -> ubyte(json.getAsShort());
                case "Int16" -> json.getAsShort();
                case "UInt16" -> ushort(json.getAsInt());
                case "Int32", "Container" -> json.getAsInt();
                case "UInt32" -> uint(json.getAsLong());
                case "Int64" -> json.getAsLong();
                case "UInt64" -> ulong(json.getAsBigInteger());
                case "Float" -> json.getAsFloat();
                case "Double" -> json.getAsDouble();
                case "String" -> json.getAsString();
                case "DateTime" -> new DateTime(Instant.parse(json.getAsString()));
                case "Guid" -> UUID.fromString(json.getAsString());
                case "ByteString" -> ByteString.of(Base64.getDecoder().decode(json.getAsString()));
                case "XmlElement" -> new XmlElement(json.getAsString());
                case "NodeId" -> NodeId.parse(json.getAsString());
                case "ExpandedNodeId" -> ExpandedNodeId.parse(json.getAsString());
                case "StatusCode" -> new StatusCode(json.getAsLong());
                case "QualifiedName" -> newQualifiedName(json.getAsString());
                case "LocalizedText" -> LocalizedText.english(json.getAsString());
                case "Variant" -> new Variant(json.getAsDouble());
                default -> ExtensionObject.encode(getServer().getDynamicEncodingContext(), structure(type, json.getAsJsonObject()));
            };
        }

        /** A structure with the fields that are there. */
        UaStructuredType structure(String type, JsonObject json) {
            DataType of = getServer().getDataTypeTree().getDataType(typeId(type));
            var members = new LinkedHashMap<String, Object>();
            for (StructureField field : ((StructureDefinition) of.getDataTypeDefinition()).getFields()) {
                if (json.has(field.getName())) {
                    members.put(field.getName(), member(field.getDataType(), json.get(field.getName())));
                }
            }
            if (getServer().getDataTypeTree().isSubtypeOf(of.getNodeId(), NodeIds.Union)) {
                var choice = members.entrySet().iterator().next();
                return new DynamicUnionType(of, new DynamicUnionType.UnionValue(choice.getKey(), choice.getValue()));
            }
            return new DynamicStructType(of, members);
        }

        Object member(NodeId type, JsonElement json) {
            OpcUaDataType builtIn = OpcUaDataType.fromNodeId(type);
            if (builtIn != null) {
                return value(builtIn.name(), json);
            }
            if (getServer().getDataTypeTree().isEnumType(type)) {
                return DynamicEnumType.newInstance(getServer().getDataTypeTree().getDataType(type), json.getAsInt());
            }
            String name = getServer().getDataTypeTree().getDataType(type).getBrowseName().getName();
            if (json.isJsonObject()) {
                return structure(name, json.getAsJsonObject());
            }
            var all = new ArrayList<UaStructuredType>();
            json.getAsJsonArray().forEach(one -> all.add(structure(name, one.getAsJsonObject())));
            return all.toArray(new UaStructuredType[0]);
        }

        @Override
        public synchronized void onDataItemsCreated(List<DataItem> created) {
            for (DataItem item : created) {
                var id = item.getReadValueId();
                var node = getNodeManager().get(id.getNodeId());
                if (node instanceof UaVariableNode variable) {
                    item.setValue(variable.getValue());
                }
            }
            items.addAll(created);
        }

        @Override
        public void onDataItemsModified(List<DataItem> modified) {}

        @Override
        public void onDataItemsDeleted(List<DataItem> deleted) {
            items.removeAll(deleted);
        }

        @Override
        public void onMonitoringModeChanged(List<MonitoredItem> changed) {}
    }
}
