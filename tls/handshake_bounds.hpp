// handshake_bounds: what a stranger announces before a handshake is over. OpenSSL takes memory for
// a message as soon as its length has come, 128 KiB of a ClientHello's, and keeps it for as long as
// the rest does not; so the lengths are looked at before OpenSSL sees them. Loop thread only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sapwood {

class handshake_bounds {
  public:
    /// Much more than clients of any kind say in plain text.
    static constexpr std::size_t message_bytes_max = 16u << 10;

    /// The next bytes of the peer, in whatever pieces they come. False where one of its messages,
    /// but for certificates, is to be longer than that; then it is over.
    /// `is_encrypted_after_change`: what follows a change_cipher_spec is no plain text, as up to
    /// TLS 1.2; of TLS 1.3 such records are of another type.
    [[nodiscard]] bool accept(std::string_view bytes, bool is_encrypted_after_change) noexcept;

  private:
    [[nodiscard]] bool accept_messages(std::string_view bytes) noexcept;

    /// Of the record: its header, of which so many bytes have come, and what is to come of the
    /// rest.
    std::array<char, 5> record_{};
    std::size_t record_bytes_ = 0;
    std::size_t record_left_ = 0;
    /// The same of a message of the handshake, which may be in several records.
    std::array<char, 4> message_{};
    std::size_t message_bytes_ = 0;
    std::size_t message_left_ = 0;
    bool has_changed_ = false;
};

} // namespace sapwood
