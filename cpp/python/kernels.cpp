// memline.kernels._native: memline's kernels as handlers of XLA's foreign functions, for jax.ffi to register.
#include <nanobind/nanobind.h>

#include <optional>
#include <utility>

#include "fresh.hpp"
#include "top_k.hpp"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;
namespace kernels = memline::kernels;

namespace {

std::optional<kernels::Kind> kind_of(ffi::DataType type, bool equal_nans) {
  switch (type) {
    case ffi::F16:
    case ffi::F32:
    case ffi::F64:
      return kernels::Kind::kFloat;
    case ffi::BF16:
      return equal_nans ? kernels::Kind::kBrainOfEqualNans : kernels::Kind::kBrain;
    case ffi::S8:
    case ffi::S16:
    case ffi::S32:
    case ffi::S64:
      return kernels::Kind::kSigned;
    case ffi::U8:
    case ffi::U16:
    case ffi::U32:
    case ffi::U64:
      return kernels::Kind::kUnsigned;
    default:
      return std::nullopt;
  }
}

// k is the last size of the results. `equal_nans` is for bfloat16.
ffi::Error top_k(ffi::ThreadPool pool, bool equal_nans, ffi::AnyBuffer elements, ffi::Result<ffi::AnyBuffer> values,
                 ffi::Result<ffi::AnyBuffer> indices) {
  const std::optional<kernels::Kind> kind = kind_of(elements.element_type(), equal_nans);
  const auto sizes = elements.dimensions();
  if (!kind || sizes.size() == 0 || values->dimensions().size() != sizes.size() ||
      values->element_type() != elements.element_type() || indices->element_type() != ffi::S32 ||
      indices->element_count() != values->element_count()) {
    return ffi::Error::InvalidArgument("memline_top_k: operand and results of other types or shapes than it knows");
  }
  kernels::Rows rows;
  rows.elements = elements.untyped_data();
  rows.length = sizes.back();
  rows.k = values->dimensions().back();
  rows.count = 1;
  for (size_t axis = 0; axis + 1 < sizes.size(); ++axis) rows.count *= sizes[axis];
  if (rows.k > rows.length || static_cast<size_t>(rows.count * rows.k) != values->element_count()) {
    return ffi::Error::InvalidArgument("memline_top_k: results of other sizes than the operand's");
  }
  rows.width = static_cast<int>(ffi::ByteWidth(elements.element_type()));
  rows.kind = *kind;
  rows.values = values->untyped_data();
  rows.indices = static_cast<int32_t*>(indices->untyped_data());
  const auto schedule = [&pool](std::function<void()> task) { pool.Schedule(std::move(task)); };
  if (!kernels::top_k(rows, pool.num_threads(), schedule)) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "memline_top_k: no memory for the elements that it keeps");
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(top_k_handler, top_k,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::ThreadPool>()
                           .Attr<bool>("equal_nans")
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>());

ffi::Error fresh(ffi::Result<ffi::AnyBuffer> result) {
  kernels::ask_for_huge_pages(result->untyped_data(), result->size_bytes());
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER(fresh_handler, fresh, ffi::Ffi::Bind().Ret<ffi::AnyBuffer>());

}  // namespace

NB_MODULE(_native, module) {
  module.def("top_k", [] { return nb::capsule(reinterpret_cast<void*>(top_k_handler)); });
  module.def("fresh", [] { return nb::capsule(reinterpret_cast<void*>(fresh_handler)); });
}
