// Any bytes through escape() and back.
#include "fuzz/target.hpp"
#include "support/record_forms.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sapwood::test;
    require_none(escape_violation(text_of(data, size)));
    return 0;
}
