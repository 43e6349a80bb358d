#include "foreign_interfaces.hpp"

#include "body_decoding.hpp"
#include "elasticsearch.hpp"
#include "loki.hpp"
#include "otlp.hpp"
#include "splunk.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <iterator>
#include <vector>

namespace sapwood::collector {

namespace {

constexpr std::string_view foreign_json_type = "application/json";
constexpr std::string_view foreign_text_type = "text/plain; charset=utf-8";

/// What was decoded is the request's.
void take(const http_request& request, decoded_request& to) {
    const decoded_body& body = request.with.foreign_body;
    to.is_long = body.is_long();
    if (!body.is_well()) {
        to.refuse(body.status(), body.error());
        return;
    }
    std::vector<json_item>& items = request.with.foreign_items;
    items.clear();
    items.reserve(body.size());
    for (std::size_t i = 0; i < body.size(); ++i) {
        items.push_back(body[i]);
    }
    to.items = items;
}

// --- Loki ---

void take_loki(const http_request& request, decoded_request& to) {
    request.with.foreign_body.clear();
    decode_loki(request.body, request.with.foreign_body);
    take(request, to);
}

http_reply loki_success(ack_level, std::string_view) {
    return {.status = 204, .type = {}, .body = {}, .fields = {}};
}

http_reply loki_failure(unsigned status, std::string_view why, std::string& body) {
    body = why;
    body += '\n';
    return {.status = status, .type = foreign_text_type, .body = body, .fields = {}};
}

// --- Elasticsearch ---

/// `INDEX` of `/INDEX/_bulk`.
std::string_view index_of(std::string_view target) noexcept {
    std::string_view path = target.substr(0, target.find('?'));
    path.remove_suffix(std::string_view("/_bulk").size());
    const std::string_view index = path.substr(std::min(path.rfind('/'), path.size()));
    return index.substr(std::min<std::size_t>(1, index.size()));
}

void take_bulk(const http_request& request, decoded_request& to) {
    request.with.foreign_body.clear();
    std::string_view index = index_of(request.head.target);
    decode_bulk(request.body, index.empty() ? request.log.name() : index, request.with.foreign_body,
                to.reply);
    take(request, to);
}

http_reply bulk_success(ack_level, std::string_view reply) {
    return {.status = 200, .type = foreign_json_type, .body = reply, .fields = elastic_field};
}

std::string_view elastic_type(unsigned status) noexcept {
    switch (status) {
    case 401:
    case 403:
        return "security_exception";
    case 408:
        return "timeout_exception";
    case 413:
        return "content_too_long_exception";
    case 429:
    case 503:
        return "es_rejected_execution_exception";
    default:
        return "illegal_argument_exception";
    }
}

http_reply bulk_failure(unsigned status, std::string_view why, std::string& body) {
    std::string cause = fmt::format(R"("type":"{}",)", elastic_type(status));
    append_json_member("reason", why, cause);
    body = fmt::format(R"({{"error":{{"root_cause":[{{{0}}}],{0}}},"status":{1}}})", cause, status);
    return {.status = status, .type = foreign_json_type, .body = body, .fields = elastic_field};
}

// --- Splunk ---

void take_splunk_events(const http_request& request, decoded_request& to) {
    request.with.foreign_body.clear();
    decode_splunk_events(request.body, request.with.foreign_body);
    take(request, to);
}

void take_splunk_raw(const http_request& request, decoded_request& to) {
    request.with.foreign_body.clear();
    decode_splunk_raw(request.body, request.query(), request.with.foreign_body);
    take(request, to);
}

http_reply splunk_success(ack_level, std::string_view) {
    return {.status = 200,
            .type = foreign_json_type,
            .body = R"({"text":"Success","code":0})",
            .fields = {}};
}

struct splunk_code {
    std::string_view text;
    unsigned code;
};

splunk_code code_of(unsigned status, std::string_view why) noexcept {
    static constexpr splunk_code decoding[] = {{splunk_words::no_data, 5},
                                               {splunk_words::required, 12},
                                               {splunk_words::blank, 13},
                                               {splunk_words::fields, 15},
                                               {"ACK is disabled", 14}};
    for (const splunk_code& each : decoding) {
        if (status == 400 && why.starts_with(each.text)) {
            return each;
        }
    }
    switch (status) {
    case 401:
        return {"Token is required", 2};
    case 403:
        return {"Invalid token", 4};
    case 404:
        return {"The requested URL was not found on this server.", 404};
    case 429:
    case 503:
        return {"Server is busy", 9};
    default:
        return status < 500 ? splunk_code{splunk_words::invalid, 6}
                            : splunk_code{"Internal server error", 8};
    }
}

http_reply splunk_failure(unsigned status, std::string_view why, std::string& body) {
    const auto [text, code] = code_of(status, why);
    body = fmt::format(R"({{"text":"{}","code":{})", text, code);
    if (const auto at = why.find("event "); at != why.npos) {
        std::size_t number = 0;
        std::from_chars(why.data() + at + 6, why.data() + why.size(), number);
        if (number != 0) { // theirs begin with 0
            fmt::format_to(std::back_inserter(body), R"(,"invalid-event-number":{})", number - 1);
        }
    }
    body += ',';
    append_json_member("detail", why, body);
    body += '}';
    return {.status = status, .type = foreign_json_type, .body = body, .fields = {}};
}

// --- OpenTelemetry ---

void take_otlp(const http_request& request, decoded_request& to) {
    request.with.foreign_body.clear();
    decode_otlp(request.body, request.with.foreign_body, to.reply);
    take(request, to);
}

http_reply otlp_success(ack_level, std::string_view reply) {
    return {.status = 200,
            .type = foreign_json_type,
            .body = reply.empty() ? "{}" : reply,
            .fields = {}};
}

/// Of google.rpc.Code.
unsigned rpc_code(unsigned status) noexcept {
    switch (status) {
    case 401:
        return 16; // UNAUTHENTICATED
    case 403:
        return 7; // PERMISSION_DENIED
    case 404:
        return 5; // NOT_FOUND
    case 408:
        return 4; // DEADLINE_EXCEEDED
    case 429:
        return 8; // RESOURCE_EXHAUSTED
    case 503:
        return 14; // UNAVAILABLE
    default:
        return 3; // INVALID_ARGUMENT
    }
}

http_reply otlp_failure(unsigned status, std::string_view why, std::string& body) {
    body = fmt::format(R"({{"code":{},)", rpc_code(status));
    append_json_member("message", why, body);
    body += '}';
    return {.status = status, .type = foreign_json_type, .body = body, .fields = {}};
}

} // namespace

const http_interface loki_interface{
    .decode = take_loki, .success = loki_success, .failure = loki_failure};
const http_interface bulk_interface{
    .decode = take_bulk, .success = bulk_success, .failure = bulk_failure};
const http_interface splunk_event_interface{
    .decode = take_splunk_events, .success = splunk_success, .failure = splunk_failure};
const http_interface splunk_raw_interface{
    .decode = take_splunk_raw, .success = splunk_success, .failure = splunk_failure};
const http_interface otlp_interface{
    .decode = take_otlp, .success = otlp_success, .failure = otlp_failure};

} // namespace sapwood::collector
