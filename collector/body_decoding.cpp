#include "body_decoding.hpp"

#include <string>

namespace sapwood::collector {

namespace {

/// More memory than for these is given back.
constexpr std::size_t usual_decoded_records = 4096;
constexpr std::size_t usual_reply_bytes = 64u << 10;

template <class T>
void empty_to(T& all, std::size_t usual) noexcept {
    all.clear();
    if (all.capacity() > usual) {
        T().swap(all);
    }
}

} // namespace

void body_decoding::forget() noexcept {
    decoded.clear();
    empty_to(decoded.reply, usual_reply_bytes);
    empty_to(foreign_items, usual_decoded_records);
    foreign_body.clear();
    decoder.forget();
    plain.trim();
}

} // namespace sapwood::collector
