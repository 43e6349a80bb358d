// http_routes: what is to be done with a request, as its head says: which log, what its sender is
// told and when, in which interface's words, or why it is refused. A new interface is a constant
// (http_interface.hpp) and its paths here. Makes no system call. Loop thread only.
#pragma once

#include "http_interface.hpp"
#include "http_parser.hpp"
#include "named_log.hpp"

#include <cstdint>
#include <string_view>

namespace sapwood::collector {

class intake;

/// What is looked at because a page of a browser may have the request sent.
enum class browser_guard : std::uint8_t {
    /// Nothing: no browser gets to a Unix socket.
    none,
    /// Origin and Sec-Fetch-Site. Not the Host: under TLS a name that has come to mean this machine
    /// would have to be in the certificate.
    pages,
    /// Host, too.
    pages_and_names,
};

enum class http_action : std::uint8_t {
    /// Decode the body, give its records to the log, answer when they are kept.
    take,
    /// Answer with status and reason, as `as` words a failure.
    refuse,
    /// Answer with `said`.
    say,
    /// Whether the process lives, whether it takes records, what it has counted.
    health,
    ready,
    metrics,
};

struct http_plan {
    http_action what = http_action::refuse;
    /// Whose words decode the body and make the answer. Never null.
    const http_interface* as = &native_interface;
    /// Of `take`: never null there.
    named_log* log = nullptr;
    ack_level ack = ack_level::durable;
    /// Of `take`: what has to be undone before the body is decoded. Refused here where it cannot
    /// be.
    content_coding coding = content_coding::identity;
    /// Of `refuse`. `reason` is a literal.
    unsigned status = 400;
    const char* reason = "";
    /// Of `refuse` with 405: the methods that the path has.
    const char* allow = "POST, PUT";
    /// Of `say`: views literals.
    http_reply said{};
};

/// `made` takes records: with the acknowledgement that `query` asks for, if it does.
[[nodiscard]] http_plan with_asked_ack(http_plan made, std::string_view query);

[[nodiscard]] http_plan plan_for(const http_head& head, intake& shared, browser_guard guard);

} // namespace sapwood::collector
