#include "decompressor.hpp"

#include <algorithm>
#include <new>

#ifdef SAPWOOD_HAS_ZLIB
#include <zlib.h>
#endif
#ifdef SAPWOOD_HAS_ZSTD
#include <zstd.h>
#include <zstd_errors.h>
#endif

namespace sapwood::collector {

namespace {

/// Up to it memory is kept for the next body.
constexpr std::size_t usual_plain_bytes = 256u << 10;

/// Up to it no ratio is looked at.
constexpr std::size_t small_bytes = 1u << 20;

constexpr const char* too_long = "the body is too long once it is decompressed";
constexpr const char* too_dense = "the body expands to suspiciously much";
constexpr const char* cut_short = "the compressed body ends in the middle";
constexpr const char* damaged = "the compressed body is damaged";
constexpr const char* trailing = "behind the compressed body stands something else";

} // namespace

bool can_decompress(content_coding coding) noexcept {
#ifdef SAPWOOD_HAS_ZLIB
    if (coding == content_coding::gzip) {
        return true;
    }
#endif
#ifdef SAPWOOD_HAS_ZSTD
    if (coding == content_coding::zstd) {
        return true;
    }
#endif
    return coding == content_coding::identity;
}

#ifdef SAPWOOD_HAS_ZLIB

struct decompressor::gzip_state {
    gzip_state() {
        // 15 bits of window, 16: gzip and nothing else.
        if (::inflateInit2(&stream, 15 + 16) != Z_OK) {
            throw std::bad_alloc();
        }
    }

    gzip_state(const gzip_state&) = delete;
    gzip_state& operator=(const gzip_state&) = delete;

    ~gzip_state() { ::inflateEnd(&stream); }

    z_stream stream{};
};

decompressor::outcome decompressor::undo_gzip(std::string_view body, std::size_t wanted) {
    if (gzip_ == nullptr) {
        gzip_ = std::make_unique<gzip_state>();
    } else {
        ::inflateReset(&gzip_->stream);
    }
    z_stream& stream = gzip_->stream;
    // zlib takes what it reads as not constant, and does not write there.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
    stream.avail_in = static_cast<uInt>(body.size());
    std::size_t used = 0;
    for (;;) {
        if (used > wanted) {
            return {.text = {memory_.get(), wanted}, .is_long = true};
        }
        if (!make_room(used, body.size())) {
            return refuse(413, used >= limits_.bytes_max ? too_long : too_dense);
        }
        const std::size_t room = room_behind(used, wanted);
        stream.next_out = reinterpret_cast<Bytef*>(memory_.get() + used);
        stream.avail_out = static_cast<uInt>(room);
        const int how = ::inflate(&stream, Z_NO_FLUSH);
        used += room - stream.avail_out;
        if (how == Z_STREAM_END) {
            if (stream.avail_in == 0) {
                break;
            }
            if (*stream.next_in != 0x1f) {
                return refuse(400, trailing);
            }
            ::inflateReset(&stream); // another member
        } else if (how == Z_MEM_ERROR) {
            throw std::bad_alloc();
        } else if (how == Z_BUF_ERROR || (how == Z_OK && stream.avail_out != 0)) {
            return refuse(400, cut_short);
        } else if (how != Z_OK) {
            return refuse(400, damaged);
        }
    }
    if (used > wanted) {
        return {.text = {memory_.get(), wanted}, .is_long = true};
    }
    if (used > limits_.bytes_max) {
        return refuse(413, too_long);
    }
    return {.text = {memory_.get(), used}};
}

#else

struct decompressor::gzip_state {};

decompressor::outcome decompressor::undo_gzip(std::string_view, std::size_t) {
    return refuse(415, "this collector was built without gzip");
}

#endif

#ifdef SAPWOOD_HAS_ZSTD

struct decompressor::zstd_state {
    zstd_state() : context(::ZSTD_createDCtx()) {
        if (context == nullptr) {
            throw std::bad_alloc();
        }
        // 8 MiB, what a decoder should have at least (RFC 8878, 3.1.1.1.2), and what all levels up
        // to 19 are content with.
        ::ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 23);
    }

    zstd_state(const zstd_state&) = delete;
    zstd_state& operator=(const zstd_state&) = delete;

    ~zstd_state() { ::ZSTD_freeDCtx(context); }

    ZSTD_DCtx* context;
};

decompressor::outcome decompressor::undo_zstd(std::string_view body, std::size_t wanted) {
    if (zstd_ == nullptr) {
        zstd_ = std::make_unique<zstd_state>();
    } else {
        ::ZSTD_DCtx_reset(zstd_->context, ZSTD_reset_session_only);
    }
    ZSTD_inBuffer in{body.data(), body.size(), 0};
    std::size_t used = 0;
    // At the end of a frame nothing is left of it.
    std::size_t left = 1;
    bool is_first = true;
    while (left != 0 || in.pos < in.size) {
        if (used > wanted) {
            return {.text = {memory_.get(), wanted}, .is_long = true};
        }
        if (!make_room(used, body.size())) {
            return refuse(413, used >= limits_.bytes_max ? too_long : too_dense);
        }
        ZSTD_outBuffer out{memory_.get() + used, room_behind(used, wanted), 0};
        const std::size_t before = in.pos;
        left = ::ZSTD_decompressStream(zstd_->context, &out, &in);
        used += out.pos;
        if (::ZSTD_isError(left) != 0) {
            switch (::ZSTD_getErrorCode(left)) {
            case ZSTD_error_memory_allocation:
                throw std::bad_alloc();
            case ZSTD_error_frameParameter_windowTooLarge:
                return refuse(413, "the compressed body needs a window of more than 8 MiB");
            case ZSTD_error_prefix_unknown:
                return refuse(400, is_first ? damaged : trailing);
            default:
                return refuse(400, damaged);
            }
        }
        if (left == 0) {
            is_first = false;
        } else if (in.pos == in.size && out.pos < out.size) {
            return refuse(400, cut_short);
        } else if (in.pos == before && out.pos == 0) {
            return refuse(400, damaged);
        }
    }
    if (used > wanted) {
        return {.text = {memory_.get(), wanted}, .is_long = true};
    }
    if (used > limits_.bytes_max) {
        return refuse(413, too_long);
    }
    return {.text = {memory_.get(), used}};
}

#else

struct decompressor::zstd_state {};

decompressor::outcome decompressor::undo_zstd(std::string_view, std::size_t) {
    return refuse(415, "this collector was built without zstd");
}

#endif

decompressor::decompressor(const decompression_limits& limits) noexcept : limits_(limits) {}

decompressor::~decompressor() = default;

decompressor::outcome decompressor::undo(content_coding coding, std::string_view body,
                                         std::size_t wanted) {
    switch (coding) {
    case content_coding::identity:
        return {.text = body};
    case content_coding::gzip:
        return undo_gzip(body, wanted);
    case content_coding::zstd:
        return undo_zstd(body, wanted);
    default:
        return refuse(415, "the body's Content-Encoding is not known here");
    }
}

/// Room for another byte behind `used`, or false: it is too much.
bool decompressor::make_room(std::size_t used, std::size_t body_bytes) {
    if (used < capacity_) {
        return true;
    }
    if (used > limits_.bytes_max ||
        (used >= small_bytes && used / limits_.ratio_max >= body_bytes)) {
        return false;
    }
    // One byte more than it may be: that it is too long shows.
    const std::size_t wanted =
        std::min(std::max(usual_plain_bytes, 2 * capacity_), limits_.bytes_max + 1);
    if (wanted <= capacity_) {
        return false;
    }
    auto larger = std::make_unique_for_overwrite<char[]>(wanted);
    std::copy_n(memory_.get(), used, larger.get());
    memory_ = std::move(larger);
    capacity_ = wanted;
    return true;
}

/// No more than `wanted` and a byte come out, by which it shows that there is more.
std::size_t decompressor::room_behind(std::size_t used, std::size_t wanted) const noexcept {
    constexpr std::size_t most = 1u << 30; // zlib counts in 32 bits
    const std::size_t room = std::min(capacity_ - used, most);
    return wanted - used < room ? wanted - used + 1 : room;
}

decompressor::outcome decompressor::refuse(unsigned status, const char* reason) noexcept {
    return {.text = {}, .status = status, .reason = reason};
}

void decompressor::trim() noexcept {
    if (capacity_ > usual_plain_bytes) {
        memory_.reset();
        capacity_ = 0;
    }
#ifdef SAPWOOD_HAS_ZSTD
    if (zstd_ != nullptr && ::ZSTD_sizeof_DCtx(zstd_->context) > usual_plain_bytes) {
        zstd_.reset();
    }
#endif
}

std::size_t decompressor::kept_bytes() const noexcept {
    std::size_t kept = capacity_;
#ifdef SAPWOOD_HAS_ZSTD
    kept += zstd_ == nullptr ? 0 : ::ZSTD_sizeof_DCtx(zstd_->context);
#endif
    return kept;
}

} // namespace sapwood::collector
