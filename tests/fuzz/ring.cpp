// A reader, and a writer, of a ring whose memory is any bytes.
#include "fuzz/target.hpp"
#include "support/record_forms.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sapwood::test;
    require_none(ring_violation(text_of(data, size)));
    return 0;
}
