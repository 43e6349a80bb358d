#include "body_decoding.hpp"
#include "http_interface.hpp"
#include "json_decoder.hpp"

#include <algorithm>

namespace sapwood::collector {

namespace {

constexpr std::string_view json_type = "application/json";

void take_items(const http_request& request, const std::vector<json_item>& items,
                decoded_request& to) {
    if (const std::string& error = request.with.decoder.error(); !error.empty()) {
        if (request.with.decoder.is_too_large()) {
            to.refuse(413, error);
        } else if (request.head.type == media_type::text) {
            to.refuse(400, error + "; text is JSON here, and plain lines are for --unix and "
                                   "--tcp-lines");
        } else {
            to.refuse(400, error);
        }
        return;
    }
    to.items = to.traces.added_to(items, request.head.traceparent);
}

void decode_body(const http_request& request, decoded_request& to) {
    json_decoder& decoder = request.with.decoder;
    if (const auto first = request.body.find_first_not_of(" \t\r\n");
        request.head.type == media_type::form && first != request.body.npos &&
        request.body[first] != '{' && request.body[first] != '[') {
        // curl says that everything is a form.
        take_items(request, decoder.decode_form(request.body), to);
        return;
    }
    const auto framing =
        request.head.type == media_type::ndjson ? json_framing::lines : json_framing::any;
    take_items(request, decoder.decode(request.body, framing), to);
}

void decode_query(const http_request& request, decoded_request& to) {
    take_items(request, request.with.decoder.decode_form(request.query()), to);
}

http_reply success(ack_level ack, std::string_view) {
    return {.status = ack == ack_level::accepted ? 202u : 200u,
            .type = json_type,
            .body = R"({"status":"1","result":"success"})"};
}

http_reply failure(unsigned status, std::string_view why, std::string& body) {
    body = R"({"status":"0",)";
    append_json_member("result", why, body);
    body += "}";
    return {.status = status, .type = json_type, .body = body};
}

} // namespace

const http_interface native_interface{
    .decode = decode_body, .success = success, .failure = failure};

const http_interface native_query_interface{
    .decode = decode_query, .success = success, .failure = failure};

std::string_view parameter(std::string_view query, std::string_view name) noexcept {
    while (!query.empty()) {
        const auto end = std::min(query.find('&'), query.size());
        const std::string_view pair = query.substr(0, end);
        query.remove_prefix(std::min(end + 1, query.size()));
        if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=') {
            return pair.substr(name.size() + 1);
        }
    }
    return {};
}

std::string_view query_of(std::string_view target) noexcept {
    const auto question = std::min(target.find('?'), target.size());
    return target.substr(std::min(question + 1, target.size()));
}

std::string_view http_request::query() const noexcept {
    return query_of(head.target);
}

} // namespace sapwood::collector
