#include "tls_stream.hpp"

#include <sapwood/errors.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <utility>

namespace sapwood {

namespace {

/// A record's plain text, at most, and how much is encrypted before it is sent.
constexpr std::size_t record_bytes_max = 16u << 10;
constexpr std::size_t sent_at_once = 4 * record_bytes_max;

/// OpenSSL gives alerts of the peer's as reasons from here on.
constexpr int alert_of(int reason) noexcept {
    return reason > SSL_AD_REASON_OFFSET ? reason - SSL_AD_REASON_OFFSET : -1;
}

tls_errc meaning_of(int reason) noexcept {
    switch (reason) {
    case SSL_R_HTTP_REQUEST:
        return tls_errc::plain_http;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return tls_errc::not_tls;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return tls_errc::no_certificate;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return tls_errc::bad_certificate;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
        return tls_errc::nothing_in_common;
    default:
        break;
    }
    switch (alert_of(reason)) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return tls_errc::refused;
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_PROTOCOL_VERSION:
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return tls_errc::nothing_in_common;
    default:
        return tls_errc::broken;
    }
}

} // namespace

/// The ends of the stream that OpenSSL sees.
struct tls_memory {
    static tls_stream& owner(BIO* of) noexcept {
        return *static_cast<tls_stream*>(BIO_get_data(of));
    }

    static int write(BIO* to, const char* bytes, int size) noexcept {
        try {
            owner(to).out_.append(bytes, static_cast<std::size_t>(size));
            return size;
        } catch (const std::bad_alloc&) {
            return -1;
        }
    }

    static int read(BIO* from, char* into, int size) noexcept {
        BIO_clear_retry_flags(from);
        std::string_view& in = owner(from).in_;
        const auto count = std::min(in.size(), static_cast<std::size_t>(size));
        if (count == 0) {
            BIO_set_retry_read(from);
            return -1;
        }
        in.copy(into, count);
        in.remove_prefix(count);
        return static_cast<int>(count);
    }

    static long control(BIO*, int command, long, void*) noexcept {
        return command == BIO_CTRL_FLUSH ? 1 : 0;
    }

    static BIO* make(tls_stream& of) {
        static const BIO_METHOD* const method = [] {
            BIO_METHOD* const made =
                BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sapwood");
            BIO_meth_set_write(made, write);
            BIO_meth_set_read(made, read);
            BIO_meth_set_ctrl(made, control);
            return made;
        }();
        BIO* const made = BIO_new(method);
        if (made == nullptr) {
            throw std::bad_alloc();
        }
        BIO_set_data(made, &of);
        BIO_set_init(made, 1);
        return made;
    }
};

tls_stream::tls_stream(std::unique_ptr<stream> under, std::shared_ptr<const tls_context> with,
                       tls_use use)
    : context_(std::move(with)),
      under_(std::move(under)),
      use_(use) {
    BIO* const memory = tls_memory::make(*this);
    tls_ = SSL_new(context_->handle());
    if (tls_ == nullptr) {
        BIO_free(memory);
        throw std::bad_alloc();
    }
    SSL_set_bio(tls_, memory, memory);
    SSL_set_app_data(tls_, const_cast<tls_use*>(&use_));
    if (!context_->is_client()) {
        SSL_set_accept_state(tls_);
        if (use_ == tls_use::one_way) {
            SSL_set_num_tickets(tls_, 0);
        }
        return;
    }
    SSL_set_connect_state(tls_);
    if (const std::string& server = context_->server(); !server.empty()) {
        if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_), server.c_str()) != 1) {
            if (SSL_set1_host(tls_, server.c_str()) != 1) {
                throw std::bad_alloc(); // or no name would be looked at
            }
            // What the macro for it does, without its cast.
            SSL_ctrl(tls_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                     const_cast<char*>(server.c_str()));
        }
    }
}

tls_stream::~tls_stream() {
    SSL_free(tls_);
}

task<> tls_stream::handshake() {
    for (;;) {
        ERR_clear_error();
        const int done = SSL_do_handshake(tls_);
        const bool waits = done != 1 && SSL_get_error(tls_, done) == SSL_ERROR_WANT_READ;
        if (done != 1 && !waits) {
            note_failure();
        }
        // Of a failure, too: it tells the peer.
        co_await flush();
        if (failure_) {
            fail();
        }
        if (done == 1) {
            is_ready_ = true;
            co_return;
        }
        co_await take_more();
        require_bounds();
    }
}

/// Of a client. A server of our own choice may show as long a certificate as OpenSSL takes.
void tls_stream::require_bounds() {
    if (!context_->is_client() && !bounds_.accept(in_, SSL_version(tls_) == TLS1_2_VERSION)) {
        failure_ = tls_errc::broken;
        failure_text_ = "a message of the handshake is too long";
        fail();
    }
}

/// Of what OpenSSL has just refused.
void tls_stream::note_failure() {
    const unsigned long error = ERR_peek_error();
    const char* const words = ERR_reason_error_string(error);
    failure_text_ = words != nullptr ? words : "";
    failure_ = meaning_of(ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0);
    if (failure_ == tls_errc::bad_certificate) {
        failure_text_ = X509_verify_cert_error_string(SSL_get_verify_result(tls_));
    }
    ERR_clear_error();
}

void tls_stream::fail() const {
    if (failure_text_.empty()) {
        throw std::system_error(failure_);
    }
    throw std::system_error(failure_, failure_text_);
}

/// Waits for more of what the peer sends. What there was has been used.
task<> tls_stream::take_more() {
    if (in_.empty()) {
        piece_ = received(); // the loop lends few, and who stalls a handshake would keep one
    }
    received next = co_await under_->receive();
    if (!next) {
        failure_ = tls_errc::truncated;
        failure_text_.clear();
        if (is_ready_ && truncations_ != nullptr) {
            ++*truncations_;
        }
        fail();
    }
    piece_ = std::move(next);
    in_ = piece_.text();
}

task<received> tls_stream::receive() {
    for (;;) {
        if (received plain = decrypt()) {
            co_return plain;
        }
        // An answer that TLS itself gives. Who sends just now sends it as well.
        if (!out_.empty() && !sender_.is_locked()) {
            co_await flush();
        }
        if (is_ended_) {
            co_return received();
        }
        if (failure_) {
            fail();
        }
        co_await take_more();
    }
}

/// As much as what has come gives; nothing where more is to come, the peer has ended, or it has
/// failed.
received tls_stream::decrypt() {
    received plain;
    if (is_ended_ || failure_ || (in_.empty() && SSL_has_pending(tls_) == 0)) {
        return plain;
    }
    // It is never longer than what was encrypted; part of a record may have come before.
    const std::size_t room =
        std::max<std::size_t>(in_.size(), 1) + (SSL_has_pending(tls_) != 0 ? record_bytes_max : 0);
    plain = received::with_room(room);
    std::size_t size = 0;
    while (size < room) {
        ERR_clear_error();
        std::size_t got = 0;
        const int done = SSL_read_ex(tls_, plain.bytes().data() + size, room - size, &got);
        if (done == 1) {
            size += got;
            continue;
        }
        const int why = SSL_get_error(tls_, done);
        if (why == SSL_ERROR_WANT_READ) {
            piece_ = received();
        } else if (why == SSL_ERROR_ZERO_RETURN) {
            is_ended_ = true;
        } else {
            note_failure();
        }
        break;
    }
    if (size == 0) {
        return {};
    }
    plain.shorten(size);
    return plain;
}

task<> tls_stream::write_all(std::span<const char> bytes) {
    while (!bytes.empty()) {
        if (failure_ && failure_ != tls_errc::truncated) {
            fail();
        }
        const auto some = bytes.first(std::min(bytes.size(), sent_at_once));
        ERR_clear_error();
        std::size_t taken = 0;
        if (SSL_write_ex(tls_, some.data(), some.size(), &taken) != 1) {
            note_failure();
            fail();
        }
        bytes = bytes.subspan(taken);
        co_await flush();
    }
}

/// Sends what there is to be sent, in order, whoever has it to say. What was not sent when it was
/// told to stop goes first the next time.
task<> tls_stream::flush() {
    if (out_.empty() && sending_.empty()) {
        co_return;
    }
    const auto held = co_await sender_.lock();
    while (!out_.empty() || !sending_.empty()) {
        if (sending_.empty()) {
            std::swap(sending_, out_);
        }
        while (sent_ < sending_.size()) {
            const std::span<const char> left = std::span(sending_).subspan(sent_);
            sent_ += co_await under_->write_some(left);
        }
        sending_ = std::string();
        sent_ = 0;
    }
}

/// For an end that nobody waits for. What does not fit into the socket's buffer is not sent.
void tls_stream::flush_without_waiting() noexcept {
    for (std::string* const each : {&sending_, &out_}) {
        const std::size_t begin = each == &sending_ ? sent_ : 0;
        const std::size_t left = each->size() - begin;
        if (left == 0) {
            continue;
        }
        const auto sent =
            ::send(under_->fd(), each->data() + begin, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent != static_cast<ssize_t>(left)) {
            return;
        }
    }
}

task<> tls_stream::shutdown_write() {
    if (is_ready_ && !failure_ && !std::exchange(has_said_end_, true)) {
        ERR_clear_error();
        (void)SSL_shutdown(tls_);
    }
    co_await flush();
    co_await under_->shutdown_write();
}

task<> tls_stream::close() {
    if (is_ready_ && !failure_ && !std::exchange(has_said_end_, true)) {
        ERR_clear_error();
        (void)SSL_shutdown(tls_);
        ERR_clear_error();
    }
    if (!sender_.is_locked()) {
        flush_without_waiting();
    }
    co_await under_->close();
}

std::string_view tls_stream::version() const noexcept {
    return SSL_get_version(tls_);
}

bool tls_stream::is_resumed() const noexcept {
    return SSL_session_reused(tls_) == 1;
}

} // namespace sapwood
