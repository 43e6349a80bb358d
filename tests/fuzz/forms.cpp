// A record of any bytes in every form, and read back. 0xfe, which is no UTF-8, separates message,
// key, value, logger, thread and task; what is missing is the first of them once more.
#include "fuzz/target.hpp"
#include "support/record_forms.hpp"

#include <algorithm>
#include <array>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sapwood::test;
    std::string_view rest = text_of(data, size);
    std::array<std::string_view, 6> parts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const bool is_last = i + 1 == parts.size();
        parts[i] = rest.empty() ? parts[0] : is_last ? rest : rest.substr(0, rest.find('\xfe'));
        rest.remove_prefix(std::min(parts[i].size() + 1, rest.size()));
    }
    require_none(forms_violation({.message = parts[0],
                                  .key = parts[1],
                                  .value = parts[2],
                                  .logger = parts[3],
                                  .thread_name = parts[4],
                                  .task = parts[5],
                                  .is_truncated = size % 2 == 1}));
    return 0;
}
