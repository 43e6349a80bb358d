#include "http_parser.hpp"

#include "http_fields.hpp"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <new>
#include <utility>

namespace sapwood::collector {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

using beast_error = boost::system::error_code;

std::string_view view_of(beast::string_view text) noexcept {
    return {text.data(), text.size()};
}

http_method method_of(http::verb verb) noexcept {
    switch (verb) {
    case http::verb::get:
        return http_method::get;
    case http::verb::head:
        return http_method::head;
    case http::verb::post:
        return http_method::post;
    case http::verb::put:
        return http_method::put;
    case http::verb::options:
        return http_method::options;
    default:
        return http_method::other;
    }
}

/// Whether a line of a head begins with a space: it goes on with the field before it, which two
/// programs may read in two ways (RFC 9112, 5.2). Beast takes it.
bool is_folded(std::string_view lines) noexcept {
    for (auto end = lines.find('\n'); end != lines.npos; end = lines.find('\n', end + 1)) {
        if (end + 1 < lines.size() && (lines[end + 1] == ' ' || lines[end + 1] == '\t')) {
            return true;
        }
    }
    return false;
}

/// Beast refuses it, but in a head that is not whole not before the end.
bool has_bare_newline(std::string_view lines) noexcept {
    for (auto end = lines.find('\n'); end != lines.npos; end = lines.find('\n', end + 1)) {
        if (end == 0 || lines[end - 1] != '\r') {
            return true;
        }
    }
    return false;
}

/// But for a tab, which is as good as a space.
bool is_control(char c) noexcept {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

/// `0\r\n\r\n`: at least so many bytes are to come of a chunked body that is not over. Given less
/// of its end, Beast 1.81 runs into an assertion.
constexpr std::size_t last_chunk_bytes = 5;

/// More memory than this is given back between requests.
constexpr std::size_t usual_bytes = 1u << 10;

/// What a head may have much of.
constexpr std::string http_head::*texts[] = {&http_head::target, &http_head::host,
                                             &http_head::origin, &http_head::authorization,
                                             &http_head::traceparent};

} // namespace

/// What Beast calls. A refusal of ours is noted here and makes Beast stop.
class http_parser::engine final : public http::basic_parser<true> {
  public:
    engine(http_head& head, const http_limits& limits) : head_(head), limits_(limits) {
        header_limit(static_cast<std::uint32_t>(limits.head_bytes_max));
        body_limit(limits.body_bytes_max);
    }

    std::string_view piece;
    unsigned status = 0;
    const char* reason = "";
    bool has_head = false;

  private:
    void refuse(unsigned code, const char* why, beast_error& error) noexcept {
        status = code;
        reason = why;
        error = http::error::bad_value;
    }

    void on_request_impl(http::verb verb, beast::string_view, beast::string_view target,
                         int version, beast_error& error) override {
        head_.method = method_of(verb);
        head_.target = without_authority(view_of(target));
        head_.is_http_1_0 = version == 10;
        if (!head_.target.starts_with('/') && head_.target != "*") {
            refuse(400, "the request's target is no path", error);
        }
    }

    void on_field_impl(http::field name, beast::string_view text, beast::string_view value,
                       beast_error& error) override {
        if (++fields_ > limits_.fields_max) {
            refuse(431, "too many header fields", error);
            return;
        }
        if (has_head) {
            return; // a trailer: nothing in it counts
        }
        if (name == http::field::unknown) {
            note_unknown_field(view_of(text), view_of(value));
            return;
        }
        note_field(name, view_of(value), error);
    }

    /// Those that Beast has no name for.
    void note_unknown_field(std::string_view name, std::string_view text) {
        if (is_named(name, "traceparent")) {
            head_.traceparent = ++traces_ == 1 ? text : std::string_view();
        }
    }

    void note_field(http::field name, std::string_view text, beast_error& error) {
        switch (name) {
        case http::field::host:
            if (++hosts_ > 1) {
                refuse(400, "several Host fields", error);
            }
            head_.host = text;
            break;
        case http::field::content_length:
            // Beast takes lists of equal numbers, which a proxy before us may read otherwise.
            if (++lengths_ > 1 || text.find(',') != text.npos) {
                refuse(400, "several Content-Lengths", error);
            }
            break;
        case http::field::transfer_encoding:
            if (head_.is_http_1_0) {
                refuse(400, "a Transfer-Encoding in HTTP/1.0", error);
            } else if (!is_named(text, "chunked")) {
                refuse(501, "a Transfer-Encoding other than chunked", error);
            }
            break;
        case http::field::content_type:
            head_.type = media_type_of(text);
            break;
        case http::field::content_encoding:
            head_.coding = codings_++ == 0 ? coding_of(text) : content_coding::other;
            break;
        case http::field::authorization:
            head_.authorization = text;
            break;
        case http::field::origin:
            head_.origin = text;
            break;
        case http::field::sec_fetch_site:
            head_.is_of_other_site |= text != "none" && text != "same-origin";
            break;
        case http::field::expect:
            if (!is_named(text, "100-continue")) {
                refuse(417, "an expectation other than 100-continue", error);
            }
            head_.expects_continue = !head_.is_http_1_0;
            break;
        default:
            break;
        }
    }

    void on_header_impl(beast_error& error) override {
        if (!head_.is_http_1_0 && hosts_ == 0) {
            refuse(400, "no Host field", error);
            return;
        }
        has_head = true;
        head_.keeps_alive = keep_alive();
        head_.has_body = !is_done();
        head_.body_bytes = static_cast<std::size_t>(content_length().value_or(0));
    }

    std::size_t on_body_impl(beast::string_view bytes, beast_error&) override {
        piece = view_of(bytes);
        return bytes.size();
    }

    std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view bytes, beast_error&) override {
        piece = view_of(bytes);
        return bytes.size();
    }

    void on_response_impl(int, beast::string_view, int, beast_error&) override {}

    void on_body_init_impl(const boost::optional<std::uint64_t>&, beast_error&) override {}

    /// Beast takes whatever stands in quotes, also a bare newline, at which a proxy before us may
    /// see the line's end. It calls this when the line is whole.
    void on_chunk_header_impl(std::uint64_t, beast::string_view extensions,
                              beast_error& error) override {
        if (std::ranges::any_of(view_of(extensions), is_control)) {
            refuse(400, "a control character in a chunk's extension", error);
        }
    }

    void on_finish_impl(beast_error&) override {}

    http_head& head_;
    const http_limits& limits_;
    unsigned fields_ = 0;
    unsigned hosts_ = 0;
    unsigned lengths_ = 0;
    unsigned codings_ = 0;
    unsigned traces_ = 0;
};

http_parser::http_parser(const http_limits& limits) : limits_(limits) {}

http_parser::~http_parser() = default;

void http_parser::begin() {
    if (engine_ == nullptr) {
        engine_ = std::make_unique<engine>(head_, limits_);
    } else {
        engine* const used = engine_.get();
        std::destroy_at(used);
        ::new (used) engine(head_, limits_);
    }
    head_.host.clear();
    head_.origin.clear();
    head_.is_of_other_site = false;
    head_.authorization.clear();
    head_.traceparent.clear();
    head_.type = media_type::none;
    head_.coding = content_coding::identity;
    head_.expects_continue = false;
    body_ = {};
    kept_.clear();
    is_body_kept_ = false;
    drops_body_ = false;
    is_in_body_ = false;
    head_bytes_ = 0;
    wire_bytes_ = 0;
    is_begun_ = true;
    is_repeated_ = false;
    known_head_.clear();
}

http_parser::step http_parser::next(std::string_view& input) {
    if (!is_begun_) {
        // An empty line before a request is to be ignored (RFC 9112, 2.2); one, not a flood.
        if (!has_skipped_line_ && input.starts_with("\r\n")) {
            input.remove_prefix(2);
            has_skipped_line_ = true;
        }
        if (input.empty() || input == "\r") {
            return step::need_more;
        }
        has_skipped_line_ = false;
        if (repeat(input)) {
            return step::done;
        }
        begin();
    }
    for (;;) {
        if (input.empty() ||
            (engine_->has_head && engine_->chunked() && input.size() < last_chunk_bytes)) {
            return step::need_more;
        }
        const bool had_head = engine_->has_head;
        engine_->piece = {};
        beast_error error;
        const std::size_t used =
            engine_->put(boost::asio::const_buffer(input.data(), input.size()), error);
        const bool lacks_more = error == http::error::need_more;
        // What cannot be used yet counts as well: it is held until it can.
        const std::size_t seen = used + (lacks_more ? input.size() - used : 0);
        const std::string_view lines = had_head ? std::string_view() : input.substr(0, used);
        const bool is_too_long = error == http::error::body_limit; // then the head was whole
        if (!had_head && error && !is_too_long && has_bare_newline(input)) {
            return fail(400, "a line ends without a carriage return");
        }
        input.remove_prefix(used);
        if (error && !lacks_more) {
            if (engine_->status != 0) {
                return fail(engine_->status, engine_->reason);
            }
            if (error == http::error::header_limit) {
                return fail(431, "the request's head is too long");
            }
            if (is_too_long) {
                return fail(413, "the body is too long");
            }
            if (error == http::error::bad_version) {
                return fail(505, "not HTTP/1.0 or HTTP/1.1");
            }
            return fail(400, "not a request of HTTP/1.1");
        }
        if (is_folded(lines)) {
            return fail(400, "a header field goes over several lines");
        }
        if (!had_head) {
            head_bytes_ += used;
            if (head_bytes_ + (seen - used) > limits_.head_bytes_max && !engine_->has_head) {
                return fail(431, "the request's head is too long");
            }
        } else {
            wire_bytes_ += used;
            // Chunks of one byte with extensions: more frame than picture.
            if (wire_bytes_ > 2 * limits_.body_bytes_max + limits_.head_bytes_max ||
                seen - used > limits_.head_bytes_max) {
                return fail(413, "the body's chunks are too long");
            }
        }
        if (!engine_->piece.empty() && !drops_body_) {
            if (body().empty() && !is_body_kept_) {
                body_ = engine_->piece;
            } else {
                keep_body();
                keep_piece(engine_->piece);
            }
        }
        if (!had_head && engine_->has_head && head_bytes_ == used) {
            remember(lines);
        }
        if (engine_->is_done()) {
            return finish();
        }
        if (!had_head && engine_->has_head) {
            is_in_body_ = true;
            return step::head;
        }
        if (lacks_more) {
            return step::need_more;
        }
    }
}

/// Whether a whole request is there whose head is known, which then is taken.
bool http_parser::repeat(std::string_view& input) noexcept {
    const std::size_t head_bytes = known_head_.size();
    if (head_bytes == 0 || input.size() - std::min(head_bytes, input.size()) < head_.body_bytes ||
        !input.starts_with(known_head_)) {
        return false;
    }
    body_ = input.substr(head_bytes, head_.body_bytes);
    input.remove_prefix(head_bytes + body_.size());
    is_body_kept_ = false;
    is_repeated_ = true;
    return true;
}

/// The head that was parsed came in one piece, `head_bytes`.
void http_parser::remember(std::string_view head_bytes) {
    constexpr std::size_t known_bytes_max = 512;
    if (head_bytes.size() <= known_bytes_max && !engine_->chunked() && !head_.expects_continue) {
        known_head_ = head_bytes;
    }
}

http_parser::step http_parser::finish() {
    is_begun_ = false;
    is_in_body_ = false;
    return step::done;
}

http_parser::step http_parser::fail(unsigned status, const char* reason) noexcept {
    status_ = status;
    reason_ = reason;
    return step::failed;
}

void http_parser::keep_body() {
    if (!is_body_kept_) {
        kept_.clear();
        is_body_kept_ = true;
        keep_piece(std::exchange(body_, {}));
    }
}

/// Grows by half, but never past what was announced: memory is taken as bytes come, not as they are
/// promised.
void http_parser::keep_piece(std::string_view piece) {
    const std::size_t needed = kept_.size() + piece.size();
    if (needed > kept_.capacity()) {
        std::size_t wanted = std::max(needed, kept_.capacity() + kept_.capacity() / 2);
        if (head_.body_bytes != 0) {
            wanted = std::max(needed, std::min(wanted, head_.body_bytes));
        }
        std::string grown;
        grown.reserve(wanted);
        grown.append(kept_);
        kept_.swap(grown);
    }
    kept_.append(piece);
}

void http_parser::drop_body() noexcept {
    drops_body_ = true;
    body_ = {};
    std::string().swap(kept_);
    is_body_kept_ = false;
    trim();
}

std::size_t http_parser::held_bytes() const noexcept {
    if (!is_begun_) {
        return 0;
    }
    std::size_t held = is_body_kept_ ? kept_.capacity() : 0;
    for (const auto text : texts) {
        const std::size_t bytes = (head_.*text).capacity();
        held += bytes > usual_bytes ? bytes : 0;
    }
    return held;
}

void http_parser::trim() noexcept {
    if (kept_.capacity() > usual_bytes) {
        std::string().swap(kept_);
        is_body_kept_ = false;
        body_ = {};
    }
    for (const auto text : texts) {
        std::string& each = head_.*text;
        if (each.capacity() > usual_bytes) {
            if (known_head_.empty()) {
                each.clear();
            }
            each.shrink_to_fit(); // or it stays as it is, where there is no memory
        }
    }
}

} // namespace sapwood::collector
