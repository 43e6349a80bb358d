#include "http_routes.hpp"

#include "foreign_interfaces.hpp"
#include "intake.hpp"

namespace sapwood::collector {

namespace {

/// The way of `POST /log` and `POST /log/NAME`; other interfaces do what is alike by the functions
/// that it is made of.
http_plan plan_for_log(const http_head& head, intake& shared, std::string_view name,
                       std::string_view query) {
    named_log* const log = shared.find(name);
    if (log == nullptr) {
        return {.status = 404, .reason = "there is no log of this name"};
    }
    http_plan made{.what = http_action::take, .log = log, .ack = log->default_ack()};
    if (head.method == http_method::get) {
        // Python's HTTPHandler: the whole query is the record.
        made.as = &native_query_interface;
        return made;
    }
    if (head.method != http_method::post) {
        return {.status = 405, .reason = "POST records to this path", .allow = "GET, POST"};
    }
    made.coding = head.coding;
    if (!can_decompress(head.coding)) {
        return {.status = 415, .reason = "the body's Content-Encoding is not known here"};
    }
    if (head.type == media_type::protobuf || head.type == media_type::other) {
        return {.status = 415,
                .reason = "a body is application/json, application/x-ndjson, text/plain that is "
                          "JSON, or application/x-www-form-urlencoded"};
    }
    return with_asked_ack(made, query);
}

http_plan plan_for_path(const http_head& head, intake& shared) {
    const std::string_view target = head.target;
    const std::string_view path = target.substr(0, target.find('?'));
    const std::string_view query = query_of(target);
    const bool is_get = head.method == http_method::get || head.method == http_method::head;
    if (path == "/log") {
        return plan_for_log(head, shared, {}, query);
    }
    if (const auto foreign = plan_for_foreign(head, shared)) {
        return *foreign;
    }
    if (constexpr std::string_view prefix = "/log/"; path.starts_with(prefix)) {
        return plan_for_log(head, shared, path.substr(prefix.size()), query);
    }
    if (path == "/healthz" || path == "/readyz" || path == "/metrics") {
        if (!is_get) {
            return {.status = 405, .reason = "GET this path", .allow = "GET, HEAD"};
        }
        return {.what = path == "/healthz"  ? http_action::health
                        : path == "/readyz" ? http_action::ready
                                            : http_action::metrics};
    }
    return {.status = 404, .reason = "there is nothing at this path; POST records to /log"};
}

/// The same refusal, in the words of the interface that was asked.
http_plan refused(const http_plan& asked, unsigned status, const char* reason) {
    return {.as = asked.as, .status = status, .reason = reason};
}

} // namespace

http_plan with_asked_ack(http_plan made, std::string_view query) {
    const std::string_view wanted = parameter(query, "ack");
    if (wanted.empty()) {
        return made;
    }
    const auto level = parse_ack_level(wanted);
    if (!level) {
        return refused(made, 400, "ack is durable, written or accepted");
    }
    if (!made.log->can_tell(*level)) {
        return refused(made, 400, "nothing in this log is ever durable: ask for written");
    }
    made.ack = *level;
    return made;
}

http_plan plan_for(const http_head& head, intake& shared, browser_guard guard) {
    http_plan made = plan_for_path(head, shared);
    if (guard != browser_guard::none &&
        (!head.origin.empty() || (head.is_of_other_site && made.what == http_action::take))) {
        return refused(made, 403, "no web page may write to this log");
    }
    if (guard == browser_guard::pages_and_names && !head.host.empty() &&
        !shared.access.is_own_host(head.host)) {
        return refused(made, 421,
                       "this collector does not have the name that the request's Host says: who "
                       "starts it gives it names by --host");
    }
    if ((made.what == http_action::take || made.what == http_action::metrics) &&
        shared.access.needs_token()) {
        const auto* const who = shared.access.find(head.authorization);
        if (who == nullptr) {
            return refused(made, 401,
                           head.authorization.empty()
                               ? "a token is needed: Authorization: Bearer ..."
                               : "this token is none that is known here");
        }
        if (made.log != nullptr && !may_write(who->token, made.log->name())) {
            return refused(made, 403, "this token is not for this log");
        }
    }
    return made;
}

} // namespace sapwood::collector
