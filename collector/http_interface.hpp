// http_interface: in which words records come by HTTP, and in which they are answered: the
// collector's own, or those of a program whose clients are to feel at home. One constant per
// interface, in a file of its own; http_routes says which path belongs to which. Functions are
// plain and make no system call. Loop thread only, but for decode, which long bodies have on
// another.
#pragma once

#include "http_parser.hpp"
#include "json_decoder.hpp"
#include "named_log.hpp"
#include "trace_fields.hpp"

#include <span>
#include <string>
#include <string_view>

namespace sapwood::collector {

struct body_decoding;

/// What an answer says, apart from what the connection adds to each (Date, Content-Length,
/// Connection, Retry-After). What it views lives until it is written into the answers' buffer.
struct http_reply {
    unsigned status = 200;
    /// Empty where there is no body.
    std::string_view type{};
    std::string_view body{};
    /// Further fields, each with its end of line.
    std::string_view fields{};
};

/// A whole request whose records are to be taken.
struct http_request {
    const http_head& head;
    /// Without its Content-Encoding.
    std::string_view body;
    const named_log& log;
    body_decoding& with;

    /// Of the target, behind the question mark.
    [[nodiscard]] std::string_view query() const noexcept;
};

/// What a request turned out to hold.
struct decoded_request {
    /// Its records, until what they were decoded with is used for another one.
    std::span<const json_item> items;
    /// Not 0: nothing of it is taken, and this is the status, with `error` for the client.
    unsigned status = 0;
    std::string error;
    /// Where the answer of a request whose records are kept is of its own, as that of _bulk is with
    /// its items: that answer's body, for success().
    std::string reply;
    /// It is too much for the loop: nothing else is said of it, and it is to be decoded elsewhere.
    bool is_long = false;
    /// Memory for items of a request that belongs to a trace.
    trace_fields traces;

    void refuse(unsigned with, std::string_view why) {
        status = with;
        error = why;
    }

    /// For the next request; memory is kept.
    void clear() noexcept {
        items = {};
        status = 0;
        error.clear();
        reply.clear();
        is_long = false;
    }
};

struct http_interface {
    /// Finds the request's records, or says why there are none. Throws std::bad_alloc. Knows
    /// nothing but what it is given: any thread.
    void (*decode)(const http_request& request, decoded_request& to);
    /// The records are kept, as far as `ack` says. `reply` is decoded_request::reply.
    http_reply (*success)(ack_level ack, std::string_view reply);
    /// Nothing of the request was taken, or nobody knows whether it is kept. `body` is memory for
    /// what the answer says.
    http_reply (*failure)(unsigned status, std::string_view why, std::string& body);
};

/// `{"status":"1","result":"success"}`, with JSON, NDJSON and forms: `POST /log`.
extern const http_interface native_interface;

/// The same of a record that is the target's query: `GET /log?level=info&msg=paid`.
extern const http_interface native_query_interface;

/// The value of `name` in `a=b&name=value`; empty where there is none.
[[nodiscard]] std::string_view parameter(std::string_view query, std::string_view name) noexcept;

/// Behind the first question mark.
[[nodiscard]] std::string_view query_of(std::string_view target) noexcept;

} // namespace sapwood::collector
