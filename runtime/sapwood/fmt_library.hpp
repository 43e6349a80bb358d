// fmt, and the template behind all of its formatting compiled once. fmt 9 cannot say in its headers
// that its library has that one (gcc and clang name it differently: fmtlib/fmt#2377), so each
// source that formats has a copy, which was a quarter of its code. Sources of sapwood itself share
// that of runtime/fmt_library.cpp, which SAPWOOD_HAS_FMT_COPY tells them; for others this is fmt
// alone.
#pragma once

#include <fmt/format.h>

#if defined(SAPWOOD_HAS_FMT_COPY) && FMT_VERSION < 100000 && !defined(FMT_HEADER_ONLY)
FMT_BEGIN_NAMESPACE

namespace detail {
extern template void vformat_to<char>(buffer<char>&, basic_string_view<char>,
                                      basic_format_args<FMT_BUFFER_CONTEXT(type_identity_t<char>)>,
                                      locale_ref);
} // namespace detail

FMT_END_NAMESPACE
#endif
