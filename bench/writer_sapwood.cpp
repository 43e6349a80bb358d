// Question: what does one loop take, with a coroutine per producer and one that writes?
// Method: to be written; writer.hpp says what the function has to do. Set has_sapwood_writer in
// meson.build then. Unit: see writers.cpp.

#include <stdexcept>

#include "writer.hpp"
#include "writer_record.hpp"

namespace bench {

void write_with_sapwood(const writer_job& /*job*/, run_meter& /*meter*/) {
    throw std::logic_error("the sapwood writer is not written yet");
}

} // namespace bench
