//! Nothing but a feature, `nvrtc`, which chooses CUDA's own compiler for the kernels: `bundle.sh` builds with it where
//! LLVM cannot be downloaded.

#[cfg(all(test, feature = "nvrtc"))]
mod tests {
    #[test]
    fn cuda_kernels_are_compiled_by_nvrtc() {
        assert_eq!(cubecl_cuda::CudaBackend::default(), cubecl_cuda::CudaBackend::Cpp);
    }
}
