#include "compressed.hpp"

#include <cstdlib>

#ifdef SAPWOOD_HAS_ZLIB
#include <zlib.h>
#endif
#ifdef SAPWOOD_HAS_ZSTD
#include <zstd.h>
#endif

namespace sapwood::test {

std::optional<std::string> gzipped([[maybe_unused]] std::string_view text) {
#ifdef SAPWOOD_HAS_ZLIB
    z_stream stream{};
    if (::deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        std::abort();
    }
    std::string out(::deflateBound(&stream, text.size()) + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    if (::deflate(&stream, Z_FINISH) != Z_STREAM_END) {
        std::abort();
    }
    out.resize(out.size() - stream.avail_out);
    ::deflateEnd(&stream);
    return out;
#else
    return std::nullopt;
#endif
}

std::optional<std::string> zstd_of([[maybe_unused]] std::string_view text,
                                   [[maybe_unused]] int window_log) {
#ifdef SAPWOOD_HAS_ZSTD
    ZSTD_CCtx* const context = ::ZSTD_createCCtx();
    ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    if (window_log != 0) {
        ::ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
        // Otherwise the window is no longer than the text.
        ::ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    }
    std::string out(::ZSTD_compressBound(text.size()), '\0');
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    ZSTD_inBuffer from{text.data(), text.size(), 0};
    // In two steps: how long it is is not known at the first.
    ::ZSTD_compressStream2(context, &to, &from, ZSTD_e_continue);
    if (::ZSTD_compressStream2(context, &to, &from, ZSTD_e_end) != 0) {
        std::abort();
    }
    out.resize(to.pos);
    ::ZSTD_freeCCtx(context);
    return out;
#else
    return std::nullopt;
#endif
}

} // namespace sapwood::test
