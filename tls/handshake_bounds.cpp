#include "handshake_bounds.hpp"

#include <algorithm>

namespace sapwood {

namespace {

/// RFC 8446, 5.1
constexpr char change_cipher_spec = 20;
constexpr char handshake = 22;
/// RFC 5246, 7.4. Plain in TLS 1.2. It is bounded by SSL_CTX_set_max_cert_list, and where nobody
/// has asked for it refused before there is memory for it.
constexpr char certificate = 11;

std::size_t byte_of(char c) noexcept {
    return static_cast<unsigned char>(c);
}

/// Moves as much of the front of `bytes` as `header` lacks; whether it is whole.
bool fill(std::string_view& bytes, char* header, std::size_t size, std::size_t& have) noexcept {
    const std::size_t count = bytes.copy(header + have, size - have);
    bytes.remove_prefix(count);
    have += count;
    return have == size;
}

} // namespace

bool handshake_bounds::accept(std::string_view bytes, bool is_encrypted_after_change) noexcept {
    while (!bytes.empty()) {
        if (record_left_ == 0) {
            if (!fill(bytes, record_.data(), record_.size(), record_bytes_)) {
                return true;
            }
            record_bytes_ = 0;
            record_left_ = byte_of(record_[3]) << 8 | byte_of(record_[4]);
            has_changed_ = has_changed_ || record_[0] == change_cipher_spec;
            continue;
        }
        const std::string_view part = bytes.substr(0, record_left_);
        const bool is_plain =
            record_[0] == handshake && !(has_changed_ && is_encrypted_after_change);
        if (is_plain && !accept_messages(part)) {
            return false;
        }
        record_left_ -= part.size();
        bytes.remove_prefix(part.size());
    }
    return true;
}

bool handshake_bounds::accept_messages(std::string_view bytes) noexcept {
    while (!bytes.empty()) {
        if (message_left_ == 0) {
            if (!fill(bytes, message_.data(), message_.size(), message_bytes_)) {
                return true;
            }
            message_bytes_ = 0;
            message_left_ =
                byte_of(message_[1]) << 16 | byte_of(message_[2]) << 8 | byte_of(message_[3]);
            if (message_left_ > message_bytes_max && message_[0] != certificate) {
                return false;
            }
            continue;
        }
        const std::size_t count = std::min(bytes.size(), message_left_);
        message_left_ -= count;
        bytes.remove_prefix(count);
    }
    return true;
}

} // namespace sapwood
