// decompressor: a body without its Content-Encoding. Whole bodies, one at a time, into memory that
// is kept only while it is small: one of them serves all connections of a loop. How much comes out
// is bounded before it is written, and so is how much of it may come out of little: what a bomb
// costs is the bound. One thread.
#pragma once

#include "http_parser.hpp"

#include <cstddef>
#include <limits>
#include <memory>
#include <string_view>

namespace sapwood::collector {

struct decompression_limits {
    /// Of what comes out. Fluent Bit's and Vector's batches are 2 to 10 MiB before compression.
    std::size_t bytes_max = 32u << 20;
    /// How many times as long as the body it may be, once it is longer than a mebibyte. Gzip does
    /// not exceed 1032.
    std::size_t ratio_max = 2000;
};

/// Whether this program was built with what undoes it.
[[nodiscard]] bool can_decompress(content_coding coding) noexcept;

class decompressor {
  public:
    struct outcome {
        /// Until the next call, or trim().
        std::string_view text;
        /// Not 0: there is no text. 400, 413 or 415, and why, for the client.
        unsigned status = 0;
        const char* reason = "";
        /// It is longer than was asked for: `text` is its beginning, of `wanted` bytes.
        bool is_long = false;
    };

    explicit decompressor(const decompression_limits& limits = {}) noexcept;
    decompressor(const decompressor&) = delete;
    decompressor& operator=(const decompressor&) = delete;
    ~decompressor();

    /// `body` as it came: one gzip member or zstd frame, or several one after the other, and
    /// nothing else. Identity is the body itself. No more comes out than `wanted`, and with a byte
    /// more it is_long. Throws std::bad_alloc.
    [[nodiscard]] outcome undo(content_coding coding, std::string_view body,
                               std::size_t wanted = std::numeric_limits<std::size_t>::max());

    /// Memory for a long body is given back; what undo() returned is gone.
    void trim() noexcept;

    /// What it keeps, for tests.
    [[nodiscard]] std::size_t kept_bytes() const noexcept;

  private:
    struct gzip_state;
    struct zstd_state;

    [[nodiscard]] outcome undo_gzip(std::string_view body, std::size_t wanted);
    [[nodiscard]] outcome undo_zstd(std::string_view body, std::size_t wanted);
    [[nodiscard]] bool make_room(std::size_t used, std::size_t body_bytes);
    [[nodiscard]] std::size_t room_behind(std::size_t used, std::size_t wanted) const noexcept;
    [[nodiscard]] static outcome refuse(unsigned status, const char* reason) noexcept;

    const decompression_limits limits_;
    std::unique_ptr<gzip_state> gzip_;
    std::unique_ptr<zstd_state> zstd_;
    std::unique_ptr<char[]> memory_;
    std::size_t capacity_ = 0;
};

} // namespace sapwood::collector
