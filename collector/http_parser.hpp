// http_parser: requests of HTTP/1.0 and 1.1 out of the bytes of a connection, one after the other.
// Boost.Beast's parser does the work; this one gives it its limits, refuses what Beast lets pass
// and RFC 9112 leaves to the server, and keeps of a head what the collector asks for. Makes no
// system call and knows no socket. What it says is `failed` cannot be gone on from: where the
// next request would begin is not certain. A client sends the same head again and again: one that
// is the same byte by byte is not parsed again. Any thread, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace sapwood::collector {

enum class http_method : std::uint8_t { get, head, post, put, options, other };

enum class media_type : std::uint8_t { none, json, ndjson, form, text, protobuf, other };

enum class content_coding : std::uint8_t { identity, gzip, zstd, other };

struct http_limits {
    /// Request line and fields together. Others allow 8 KiB, which cookies of a browser exceed.
    std::size_t head_bytes_max = 16u << 10;
    unsigned fields_max = 100;
    /// As it travels. Fluent Bit sends 4 MiB.
    std::size_t body_bytes_max = 8u << 20;
};

/// What a request's head says. Strings live until the next request begins.
struct http_head {
    http_method method = http_method::other;
    /// Path and query, of the absolute form, too.
    std::string target;
    std::string host;
    std::string origin;
    /// A browser says that a page of another origin has it sent, an image's address among others.
    bool is_of_other_site = false;
    std::string authorization;
    /// As it came, unless it came several times: then it is empty.
    std::string traceparent;
    media_type type = media_type::none;
    content_coding coding = content_coding::identity;
    bool is_http_1_0 = false;
    bool expects_continue = false;
    bool has_body = false;
    /// As announced; 0 where it comes in chunks.
    std::size_t body_bytes = 0;
    /// The connection may be used for another request.
    bool keeps_alive = false;
};

class http_parser {
  public:
    enum class step : std::uint8_t {
        /// All of the input that can be used was used; more is to come. What was left of the input
        /// must stand before it.
        need_more,
        /// head() is whole, and the body begins.
        head,
        /// The request is whole: head() and body(). next() goes on with the one behind it.
        done,
        /// See status() and reason(). Nothing behind can be believed.
        failed,
    };

    explicit http_parser(const http_limits& limits);
    http_parser(const http_parser&) = delete;
    http_parser& operator=(const http_parser&) = delete;
    ~http_parser();

    /// Takes from the front of `input`. Throws std::bad_alloc.
    [[nodiscard]] step next(std::string_view& input);

    [[nodiscard]] const http_head& head() const noexcept { return head_; }

    /// In the input, where it came in one piece; otherwise kept until the next request begins.
    [[nodiscard]] std::string_view body() const noexcept {
        return is_body_kept_ ? std::string_view(kept_) : body_;
    }

    /// The request that is whole has the head of the one before it, byte by byte: head() is the
    /// same, and there was no step::head.
    [[nodiscard]] bool is_repeated() const noexcept { return is_repeated_; }

    /// What is still to come of this request's body is not wanted: body() is empty.
    void drop_body() noexcept;

    /// The input of a request that is not whole goes away: what body() has of it is kept.
    void keep_body();

    /// Some of a request has come, and not all of it.
    [[nodiscard]] bool is_in_request() const noexcept { return is_begun_; }

    [[nodiscard]] bool is_in_body() const noexcept { return is_in_body_; }

    /// The last one failed with: 400, 413, 431, 501 or 505, and why, for the client.
    [[nodiscard]] unsigned status() const noexcept { return status_; }

    [[nodiscard]] const char* reason() const noexcept { return reason_; }

    /// Memory that the request takes which is under way: its body, and what is long in its head; 0
    /// between requests.
    [[nodiscard]] std::size_t held_bytes() const noexcept;

    /// Between requests: memory that a long one took is given back, and head() is gone.
    void trim() noexcept;

  private:
    class engine;

    void begin();
    [[nodiscard]] bool repeat(std::string_view& input) noexcept;
    void remember(std::string_view head_bytes);
    void keep_piece(std::string_view piece);
    [[nodiscard]] step finish();
    [[nodiscard]] step fail(unsigned status, const char* reason) noexcept;

    const http_limits limits_;
    std::unique_ptr<engine> engine_;
    http_head head_;
    std::string_view body_;
    std::string kept_;
    /// Of the last request, where it may come again and is short.
    std::string known_head_;
    const char* reason_ = "";
    std::size_t head_bytes_ = 0;
    /// On the wire, of a chunked body: sizes and extensions, too.
    std::size_t wire_bytes_ = 0;
    unsigned status_ = 0;
    /// An empty line before the request that is to begin.
    bool has_skipped_line_ = false;
    bool is_begun_ = false;
    bool is_in_body_ = false;
    bool is_body_kept_ = false;
    bool drops_body_ = false;
    bool is_repeated_ = false;
};

} // namespace sapwood::collector
