#include <sapwood/fmt_library.hpp>

#if defined(SAPWOOD_HAS_FMT_COPY) && FMT_VERSION < 100000 && !defined(FMT_HEADER_ONLY)
FMT_BEGIN_NAMESPACE

namespace detail {
template void vformat_to<char>(buffer<char>&, basic_string_view<char>,
                               basic_format_args<FMT_BUFFER_CONTEXT(type_identity_t<char>)>,
                               locale_ref);
} // namespace detail

FMT_END_NAMESPACE
#endif
