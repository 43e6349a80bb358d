// What the paths of other programs' interfaces mean; see foreign_interfaces.hpp.
#include "foreign_interfaces.hpp"

#include "elasticsearch.hpp"
#include "intake.hpp"

#include <algorithm>

namespace sapwood::collector {

namespace {

constexpr std::string_view routed_json_type = "application/json";

/// To its clients it is a version that takes documents without a type. Filebeat refuses to talk to
/// one older than itself unless it is told; 8 is what the clients of today were written for.
constexpr std::string_view elastic_info =
    R"({"name":"sapwood","cluster_name":"sapwood","cluster_uuid":"sapwood",)"
    R"("version":{"number":"8.11.0","build_flavor":"default","build_type":"tar",)"
    R"("build_hash":"0","build_date":"2023-11-04T10:04:57.184859352Z","build_snapshot":false,)"
    R"("lucene_version":"9.8.0","minimum_wire_compatibility_version":"7.17.0",)"
    R"("minimum_index_compatibility_version":"7.0.0"},"tagline":"You Know, for Search"})";
constexpr std::string_view elastic_license =
    R"({"license":{"status":"active","uid":"sapwood","type":"basic","mode":"basic",)"
    R"("issued_to":"sapwood","issuer":"sapwood","max_nodes":1,"start_date_in_millis":-1}})";
constexpr std::string_view elastic_health =
    R"({"cluster_name":"sapwood","status":"green","timed_out":false,"number_of_nodes":1,)"
    R"("number_of_data_nodes":1,"active_primary_shards":0,"active_shards":0})";

bool is_get(const http_head& head) noexcept {
    return head.method == http_method::get || head.method == http_method::head;
}

http_plan refuse(const http_interface& as, unsigned status, const char* reason) {
    return {.as = &as, .status = status, .reason = reason};
}

/// What has the form of a document of Elasticsearch's, whatever the log does.
http_plan say(const http_interface& as, std::string_view body, std::string_view fields) {
    http_plan made{.what = http_action::say, .as = &as};
    made.said = {.status = 200, .type = routed_json_type, .body = body, .fields = fields};
    return made;
}

/// A request whose records go to `log`, if it is as it should be.
http_plan take(const http_head& head, const http_interface& as, named_log* log,
               const char* not_protobuf) {
    if (log == nullptr) {
        return refuse(as, 404, "there is no log of this name");
    }
    if (head.method != http_method::post && head.method != http_method::put) {
        return refuse(as, 405, "POST records to this path");
    }
    if (head.type == media_type::protobuf) {
        return refuse(as, 415, not_protobuf);
    }
    if (!can_decompress(head.coding)) {
        return refuse(as, 415,
                      head.coding == content_coding::other
                          ? "the body's Content-Encoding is not known here: use gzip, "
                            "zstd or none"
                          : "this collector was built without this Content-Encoding");
    }
    http_plan made{.what = http_action::take, .as = &as, .log = log, .ack = log->default_ack()};
    made.coding = head.coding;
    return with_asked_ack(made, query_of(head.target));
}

/// `/_bulk` and `/INDEX/_bulk`.
bool is_bulk(std::string_view path) noexcept {
    constexpr std::string_view end = "/_bulk";
    return path.ends_with(end) &&
           path.substr(0, path.size() - end.size()).find('/', 1) == path.npos;
}

/// What Elasticsearch's clients ask before they send.
std::optional<http_plan> plan_for_elastic_probe(const http_head& head, std::string_view path) {
    if (!is_get(head)) {
        for (const std::string_view prefix :
             {"/_ilm/", "/_index_template/", "/_component_template/", "/_template/", "/_ingest/"}) {
            if (path.starts_with(prefix)) {
                http_plan made =
                    refuse(bulk_interface, 405,
                           "this is a log and keeps no templates, policies or pipelines: tell "
                           "the client not to set them up");
                made.allow = "GET, HEAD";
                return made;
            }
        }
        return std::nullopt;
    }
    if (path == "/") {
        return say(bulk_interface, elastic_info, elastic_field);
    }
    if (path == "/_license" || path == "/_xpack") {
        return say(bulk_interface, elastic_license, elastic_field);
    }
    if (path == "/_cluster/health") {
        return say(bulk_interface, elastic_health, elastic_field);
    }
    // That they are there keeps a client from setting them up.
    for (const std::string_view prefix :
         {"/_ilm/policy/", "/_index_template/", "/_template/", "/_data_stream/", "/_alias/"}) {
        if (path.starts_with(prefix)) {
            return say(bulk_interface, "{}", elastic_field);
        }
    }
    return std::nullopt;
}

std::optional<http_plan> plan_for_splunk(const http_head& head, named_log* log,
                                         std::string_view path, const intake& shared) {
    constexpr const char* no_protobuf = "events are JSON";
    if (path.ends_with("/1.0")) {
        path.remove_suffix(std::string_view("/1.0").size());
    }
    if (head.method == http_method::options) { // with which Docker's log driver asks
        return say(splunk_event_interface, R"({"text":"HEC is healthy","code":17})", {});
    }
    if (path.empty() || path == "/event") {
        return take(head, splunk_event_interface, log, no_protobuf);
    }
    if (path == "/raw") {
        return take(head, splunk_raw_interface, log, no_protobuf);
    }
    if (path == "/health") {
        if (shared.is_told_to_end || shared.refusing_log() != nullptr) {
            http_plan made = say(splunk_event_interface,
                                 R"({"text":"HEC is unhealthy, queues are full","code":18})", {});
            made.said.status = 503;
            return made;
        }
        return say(splunk_event_interface, R"({"text":"HEC is healthy","code":17})", {});
    }
    if (path == "/ack") {
        // What was answered with 200 is kept: there is nothing to ask.
        return refuse(splunk_event_interface, 400, "ACK is disabled");
    }
    return std::nullopt;
}

} // namespace

std::optional<http_plan> plan_for_foreign(const http_head& head, intake& shared) {
    const std::string_view target = head.target;
    std::string_view path = target.substr(0, target.find('?'));
    named_log* log = shared.find({});
    if (constexpr std::string_view prefix = "/log/"; path.starts_with(prefix)) {
        const auto end = path.find('/', prefix.size());
        if (end == path.npos) {
            return std::nullopt;
        }
        log = shared.find(path.substr(prefix.size(), end - prefix.size()));
        path.remove_prefix(end);
    }
    if (path == "/loki/api/v1/push") {
        return take(head, loki_interface, log,
                    "streams are taken as JSON, not as snappy's protobuf: tell the client to send "
                    "JSON");
    }
    if (path == "/ready" && is_get(head)) {
        return http_plan{.what = http_action::ready};
    }
    if (path == "/v1/logs") {
        return take(head, otlp_interface, log,
                    "logs are taken as JSON, not as protobuf: tell the exporter its encoding is "
                    "json");
    }
    if (constexpr std::string_view prefix = "/services/collector"; path.starts_with(prefix)) {
        return plan_for_splunk(head, log, path.substr(prefix.size()), shared);
    }
    if (is_bulk(path)) {
        // An index is a log where it has a log's name.
        const std::string_view index =
            path.substr(1, path.size() - std::min<std::size_t>(path.size(), 7));
        if (named_log* const named = index.empty() ? nullptr : shared.find(index);
            named != nullptr && path.data() == target.data()) {
            log = named;
        }
        return take(head, bulk_interface, log, "documents are JSON, a line each");
    }
    return plan_for_elastic_probe(head, path);
}

} // namespace sapwood::collector
